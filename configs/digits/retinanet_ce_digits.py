"""A small RetinaNet with cross-entropy and smooth L1 on the digits.

python tools/train.py configs/digits/retinanet_ce_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "../retinanet_ghm_digits.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0),
    )
)
