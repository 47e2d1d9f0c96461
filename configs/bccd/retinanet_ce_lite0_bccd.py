"""RetinaNet on EfficientNet-Lite0 with cross-entropy and smooth L1, on BCCD.

python tools/train.py configs/bccd/retinanet_ce_lite0_bccd.py
2 CPU cores, batches of 4 images, 2.5 minutes. For the data see ../_base_/datasets/bccd_detection.py.

No published figure: nobody else has run this.
"""

_base_ = [
    "../_base_/models/retinanet_lite0_fpn.py",
    "../_base_/datasets/bccd_detection.py",
    "../_base_/schedules/schedule_6e.py",
]
