"""A small Faster R-CNN with the clean RPN on the digits.

python tools/train.py configs/digits/faster-rcnn_clean-rpn_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "faster-rcnn_digits.py"

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
            assigner=dict(_delete_=True, type="ghm_mmdet.TopNIoUAssigner", num=20),
            sampler=dict(_delete_=True, type="PseudoSampler"),
        )
    ),
)
custom_hooks = [dict(type="ghm_mmdet.OptimalBiasInitHook")]
