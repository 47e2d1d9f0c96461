"""A small Faster R-CNN with smooth L1 on the digits.

python tools/train.py configs/digits/faster-rcnn_smooth-l1_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "faster-rcnn_digits.py"

model = dict(
    rpn_head=dict(loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0)),
    roi_head=dict(bbox_head=dict(loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=1.0, loss_weight=1.0))),
)
