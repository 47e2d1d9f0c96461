"""A small FCOS with GHM-C on the digits.

python tools/train.py configs/digits/fcos_ghmc_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "../retinanet_ghm_digits.py"

model = dict(
    type="FCOS",
    bbox_head=dict(
        _delete_=True,
        type="FCOSHead",
        num_classes=10,
        in_channels=_base_.model.bbox_head.in_channels,
        feat_channels=_base_.model.bbox_head.feat_channels,
        stacked_convs=_base_.model.bbox_head.stacked_convs,
        strides=_base_.model.bbox_head.anchor_generator.strides,
        regress_ranges=((-1, 24), (24, 48), (48, 1e8)),
        norm_cfg=_base_.norm_cfg,
        loss_cls=_base_.model.bbox_head.loss_cls,
        loss_bbox=dict(type="IoULoss", loss_weight=1.0),
    ),
)
