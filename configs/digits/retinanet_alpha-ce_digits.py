"""A small RetinaNet with alpha-balanced cross-entropy on the digits.

python tools/train.py configs/digits/retinanet_alpha-ce_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_digits.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.AlphaBalancedCrossEntropyLoss", alpha=0.75, use_sigmoid=True),
    )
)
