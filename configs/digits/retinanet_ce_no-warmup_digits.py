"""A small RetinaNet with cross-entropy without warm-up on the digits.

python tools/train.py configs/digits/retinanet_ce_no-warmup_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_digits.py"

param_scheduler = [part for part in _base_.param_scheduler if part.type != "LinearLR"]
