"""A small FCOS with Focal Loss on the digits.

python tools/train.py configs/digits/fcos_focal_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "fcos_ghmc_digits.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
    )
)
