"""RetinaNet R-50-FPN with GHM-C and ASL1 on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_ghmc-asl1_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 35.7 AP (GHM paper).
"""

_base_ = "retinanet_ghmc-sl1_r50.py"

model = dict(
    bbox_head=dict(
        loss_bbox=dict(_delete_=True, type="ghm_mmdet.ASL1Loss", mu=0.02, loss_weight=1.0),
    )
)
