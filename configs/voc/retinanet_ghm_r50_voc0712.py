"""RetinaNet R-50-FPN with GHM-C and GHM-R on VOC 2007 + 2012.

bash tools/dist_train.sh configs/voc/retinanet_ghm_r50_voc0712.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 74.8 mAP with warm-up, on VOC 2007 or 07+12, which is not said (GHM's author).
"""

_base_ = "../_base_/retinanet_r50_voc0712.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, loss_weight=10.0),
    )
)
