"""RetinaNet R-50-FPN with FL* on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_focal-star_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 33.8 AP at 600 px, and 33.9 with gamma 4 and beta 0 (Focal Loss paper, table 3).
"""

_base_ = "../_base_/retinanet_r50_sl1_coco.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.FocalStarLoss", gamma=2.0, beta=1.0, alpha=0.25, use_sigmoid=True),
    )
)
