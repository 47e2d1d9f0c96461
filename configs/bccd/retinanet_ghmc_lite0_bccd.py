"""RetinaNet on EfficientNet-Lite0 with GHM-C, as released, and smooth L1, on BCCD.

python tools/train.py configs/bccd/retinanet_ghmc_lite0_bccd.py
2 CPU cores, batches of 4 images, 2.5 minutes. For the data see ../_base_/bccd.py.

No published figure: nobody else has run this.
"""

_base_ = "retinanet_ce_lite0_bccd.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0),
    )
)
