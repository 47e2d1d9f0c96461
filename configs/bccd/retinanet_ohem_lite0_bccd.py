"""RetinaNet on EfficientNet-Lite0 with OHEM, the 128 hardest anchors of each image, on BCCD.

python tools/train.py configs/bccd/retinanet_ohem_lite0_bccd.py
2 CPU cores, batches of 4 images, 2.5 minutes. For the data see ../_base_/bccd.py.

No published figure: nobody else has run this.
"""

_base_ = "retinanet_ce_lite0_bccd.py"

model = dict(bbox_head=dict(type="ghm_mmdet.OHEMRetinaHead", num=128, ohem_iou_threshold=0.7))
