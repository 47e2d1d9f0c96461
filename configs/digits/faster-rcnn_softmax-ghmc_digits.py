"""A small Faster R-CNN with softmax GHM-C in the RoI head on the digits.

python tools/train.py configs/digits/faster-rcnn_softmax-ghmc_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "faster-rcnn_digits.py"

model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_cls=dict(
                _delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=False, loss_weight=1.0
            )
        )
    )
)
