"""A small ATSS with GHM-C on the digits.

python tools/train.py configs/digits/atss_ghmc_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "../retinanet_ghm_digits.py"

model = dict(
    type="ATSS",
    bbox_head=dict(
        _delete_=True,
        type="ghm_mmdet.ATSSHead",
        density_scope="batch",
        num_classes=10,
        in_channels=_base_.model.bbox_head.in_channels,
        feat_channels=_base_.model.bbox_head.feat_channels,
        stacked_convs=_base_.model.bbox_head.stacked_convs,
        norm_cfg=_base_.norm_cfg,
        anchor_generator=dict(
            type="AnchorGenerator",
            ratios=[1.4],
            octave_base_scale=3,
            scales_per_octave=1,
            strides=_base_.model.bbox_head.anchor_generator.strides,
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=_base_.model.bbox_head.loss_cls,
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
    ),
    train_cfg=dict(assigner=dict(_delete_=True, type="ATSSAssigner", topk=9)),
)
