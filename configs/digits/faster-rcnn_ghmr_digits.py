"""A small Faster R-CNN with GHM-R in RPN and RoI head on the digits.

python tools/train.py configs/digits/faster-rcnn_ghmr_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "faster-rcnn_digits.py"

model = dict(
    rpn_head=dict(
        type="ghm_mmdet.RPNHead",
        density_scope="batch",
        loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, loss_weight=1.0),
    ),
    roi_head=dict(
        bbox_head=dict(
            loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, loss_weight=1.0)
        )
    ),
)
