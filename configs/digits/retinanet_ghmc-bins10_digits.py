"""A small RetinaNet with GHM-C of 10 bins on the digits.

python tools/train.py configs/digits/retinanet_ghmc-bins10_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "retinanet_ghmc-sl1_digits.py"

model = dict(bbox_head=dict(loss_cls=dict(bins=10)))
