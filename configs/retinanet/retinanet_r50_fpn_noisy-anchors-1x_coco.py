"""RetinaNet R-50-FPN that learns from noisy anchors, soft labels and weights, on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_r50_fpn_noisy-anchors-1x_coco.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 38.6 box AP. Source: Noisy Anchors' released code.
"""

_base_ = "retinanet_r50_fpn_1x_coco.py"

model = dict(
    bbox_head=dict(
        type="ghm_mmdet.NoisyAnchorRetinaHead",
        alpha=0.75,
        gamma=1.0,
        loss_cls=dict(
            _delete_=True, type="ghm_mmdet.SoftFocalLoss", gamma=2.0, alpha=0.5, use_sigmoid=True, loss_weight=1.0
        ),
        loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.1, loss_weight=1.0),
    ),
    train_cfg=dict(assigner=dict(_delete_=True, type="ghm_mmdet.TopNIoUAssigner", num=30)),
)
