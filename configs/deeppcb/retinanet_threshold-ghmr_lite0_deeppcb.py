"""RetinaNet on EfficientNet-Lite0 with cross-entropy above a threshold, and a softer GHM-R, on circuit boards.

python tools/train.py configs/deeppcb/retinanet_threshold-ghmr_lite0_deeppcb.py
2 CPU cores, batches of 4 images, 6 minutes. For the data see retinanet_ce_lite0_deeppcb.py.

For very rare positives, at cross-entropy's own learning rate; where they are common take the robust form of GHM-C,
../bccd/retinanet_ghm-robust_lite0_bccd.py.
No published figure: this setting is ours. See docs/studies/robust.md for what is shown of it and what is not.
"""

_base_ = "retinanet_ce_lite0_deeppcb.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.ThresholdCrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.1, bins=10, momentum=0.7, loss_weight=10.0),
    )
)
