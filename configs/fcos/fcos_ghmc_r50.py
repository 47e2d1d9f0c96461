"""FCOS R-50-FPN with GHM-C on COCO, 1x.

bash tools/dist_train.sh configs/fcos/fcos_ghmc_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: about 25 AP by a user of GHM-C, against 36.4 with cross-entropy and 36.6 with Focal Loss (MMDetection model
zoo).
"""

_base_ = "../_base_/fcos_r50_coco.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0),
    )
)
