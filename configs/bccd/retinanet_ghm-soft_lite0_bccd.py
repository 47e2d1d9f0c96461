"""RetinaNet on EfficientNet-Lite0 with GHM-C and GHM-R, its ASL1 softer than as released, on BCCD.

python tools/train.py configs/bccd/retinanet_ghm-soft_lite0_bccd.py
2 CPU cores, batches of 4 images, 2.5 minutes. For the data see ../_base_/datasets/bccd_detection.py.

No published figure: this setting is ours. See docs/results.md for what it gains over the released mu of 0.02.
"""

_base_ = "retinanet_ce_lite0_bccd.py"

optim_wrapper = dict(optimizer=dict(lr=0.02))
model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.1, bins=10, momentum=0.7, loss_weight=10.0),
    )
)
