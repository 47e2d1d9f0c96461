"""A small RetinaNet with GHM-C and GHM-R, a density for each level, on the digits.

python tools/train.py configs/digits/retinanet_ghm-level_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "../retinanet_ghm_digits.py"

# The losses of three levels are added: a third of the weights of the one over all of them.
model = dict(
    bbox_head=dict(density_scope="level", loss_cls=dict(loss_weight=80.0 / 3), loss_bbox=dict(loss_weight=10.0 / 3))
)
