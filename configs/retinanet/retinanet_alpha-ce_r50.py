"""RetinaNet R-50-FPN with alpha-balanced cross-entropy on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_alpha-ce_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 31.1 AP at 600 px (Focal Loss paper, table 1a).
"""

_base_ = "../_base_/retinanet_r50_sl1_coco.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.AlphaBalancedCrossEntropyLoss", alpha=0.75, use_sigmoid=True),
    )
)
