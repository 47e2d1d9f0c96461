"""RetinaNet on EfficientNet-Lite0 with alpha-balanced cross-entropy, on BCCD.

python tools/train.py configs/bccd/retinanet_alpha-ce_lite0_bccd.py
2 CPU cores, batches of 4 images, 2.5 minutes. For the data see ../_base_/bccd.py.

No published figure: nobody else has run this.
"""

_base_ = "retinanet_ce_lite0_bccd.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.AlphaBalancedCrossEntropyLoss", alpha=0.75, use_sigmoid=True),
    )
)
