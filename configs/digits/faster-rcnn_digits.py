"""A small Faster R-CNN on the digits, its RPN trained on 256 sampled anchors of an image.

python tools/train.py configs/digits/faster-rcnn_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "../_base_/faster-rcnn_digits.py"
