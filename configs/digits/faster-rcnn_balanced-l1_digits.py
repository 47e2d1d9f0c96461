"""A small Faster R-CNN with Balanced L1 in the RoI head on the digits.

python tools/train.py configs/digits/faster-rcnn_balanced-l1_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "faster-rcnn_digits.py"

model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_bbox=dict(_delete_=True, type="BalancedL1Loss", alpha=0.5, gamma=1.5, beta=1.0, loss_weight=1.0)
        )
    )
)
