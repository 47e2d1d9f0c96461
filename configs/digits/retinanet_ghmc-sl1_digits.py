"""A small RetinaNet with GHM-C and smooth L1 on the digits.

python tools/train.py configs/digits/retinanet_ghmc-sl1_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "../retinanet_ghm_digits.py"

model = dict(
    bbox_head=dict(
        loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0),
    )
)
