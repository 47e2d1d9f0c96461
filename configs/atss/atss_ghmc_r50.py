"""ATSS R-50-FPN with GHM-C on COCO, 1x.

bash tools/dist_train.sh configs/atss/atss_ghmc_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure; 39.4 AP with Focal Loss (MMDetection model zoo).
"""

_base_ = "../_base_/atss_r50_coco.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0),
    )
)
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
