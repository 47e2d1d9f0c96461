"""RetinaNet R-50-FPN with OHEM, the 128 hardest anchors of each image, on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_ohem_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 31.1 AP with R-101 at 600 px (Focal Loss paper, table 1d).
"""

_base_ = "../_base_/retinanet_r50_sl1_coco.py"

model = dict(
    bbox_head=dict(
        type="ghm_mmdet.OHEMRetinaHead",
        num=128,
        ohem_iou_threshold=0.7,
        loss_cls=dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
    )
)
