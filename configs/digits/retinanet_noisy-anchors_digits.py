"""A small RetinaNet that learns from noisy anchors, soft labels and weights, on the digits.

python tools/train.py configs/digits/retinanet_noisy-anchors_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_digits.py"

model = dict(
    bbox_head=dict(
        type="ghm_mmdet.NoisyAnchorRetinaHead",
        alpha=0.75,
        gamma=1.0,
        loss_cls=dict(
            _delete_=True, type="ghm_mmdet.SoftFocalLoss", gamma=2.0, alpha=0.5, use_sigmoid=True, loss_weight=1.0
        ),
    ),
    # Two anchors at a place, where COCO's RetinaNet has nine and 30 positives of an object.
    train_cfg=dict(assigner=dict(_delete_=True, type="ghm_mmdet.TopNIoUAssigner", num=8)),
)
