"""A small RetinaNet with FL* on the digits.

python tools/train.py configs/digits/retinanet_focal-star_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_digits.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.FocalStarLoss", gamma=2.0, beta=1.0, alpha=0.25, use_sigmoid=True),
    )
)
