"""A small RetinaNet with OHEM, positives to negatives as 1 to 3 among 128 anchors, on the digits.

python tools/train.py configs/digits/retinanet_ohem-1to3_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_digits.py"

model = dict(
    bbox_head=dict(
        type="ghm_mmdet.OHEMRetinaHead",
        num=128,
        neg_pos_ratio=3,
        ohem_iou_threshold=0.5,
    )
)
