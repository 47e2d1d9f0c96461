"""A small RetinaNet with OHEM, the 128 hardest anchors of each image, on the digits.

python tools/train.py configs/digits/retinanet_ohem_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_digits.py"

model = dict(
    bbox_head=dict(
        type="ghm_mmdet.OHEMRetinaHead",
        num=128,
        ohem_iou_threshold=0.7,
    )
)
