"""Faster R-CNN R-50-FPN with the clean RPN on COCO, 1x.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_r50_fpn_clean-rpn-1x_coco.py 8
8 GPUs x 2 images, what lr 0.02 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure.
"""

_base_ = "faster-rcnn_r50_fpn_1x_coco.py"

model = dict(
    rpn_head=dict(
        type="ghm_mmdet.CleanRPNHead",
        density_scope="batch",
        alpha=0.5,
        loss_cls=dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(_delete_=True, type="ghm_mmdet.TopNIoUAssigner", num=100),
            sampler=dict(_delete_=True, type="PseudoSampler"),
        )
    ),
)
custom_hooks = [dict(type="ghm_mmdet.OptimalBiasInitHook")]
