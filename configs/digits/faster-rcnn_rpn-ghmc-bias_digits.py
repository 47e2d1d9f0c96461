"""A small Faster R-CNN with GHM-C and the optimal bias in the RPN on the digits.

python tools/train.py configs/digits/faster-rcnn_rpn-ghmc-bias_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "faster-rcnn_rpn-ghmc_digits.py"

custom_hooks = [dict(type="ghm_mmdet.OptimalBiasInitHook")]
