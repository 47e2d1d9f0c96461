"""RetinaNet R-50-FPN with OHEM (the 128 hardest anchors of each image) on VOC 2007 + 2012.

bash tools/dist_train.sh configs/voc/retinanet_ohem_r50_voc0712.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure.
"""

_base_ = "../_base_/retinanet_r50_voc0712.py"

model = dict(
    bbox_head=dict(
        type="ghm_mmdet.OHEMRetinaHead",
        num=128,
        loss_cls=dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
    )
)
