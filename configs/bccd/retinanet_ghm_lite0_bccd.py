"""RetinaNet on EfficientNet-Lite0 with GHM-C and GHM-R, as released, on BCCD.

python tools/train.py configs/bccd/retinanet_ghm_lite0_bccd.py
2 CPU cores, batches of 4 images, 2.5 minutes. For the data see ../_base_/bccd.py.

No published figure: nobody else has run this.
"""

_base_ = "retinanet_ghmc_lite0_bccd.py"

model = dict(
    bbox_head=dict(
        loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, loss_weight=10.0),
    )
)
