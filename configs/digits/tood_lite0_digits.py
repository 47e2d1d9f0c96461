"""TOOD's head with its own Quality Focal Loss on EfficientNet-Lite0 on the digits.

python tools/make_digits.py && python tools/train.py configs/digits/tood_lite0_digits.py
One CPU core, batches of 4 images. The first two epochs have Focal Loss, as TOOD's first four on COCO.

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_lite0_digits.py"

channels = _base_.model.neck.out_channels
model = dict(
    _delete_=True,
    type="TOOD",
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    bbox_head=dict(
        type="TOODHead",
        num_classes=10,
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=2,
        norm_cfg=dict(type="GN", num_groups=16, requires_grad=True),
        anchor_type="anchor_free",
        anchor_generator=dict(
            type="AnchorGenerator", ratios=[1.0], octave_base_scale=4, scales_per_octave=1, strides=[8, 16, 32]
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]),
        initial_loss_cls=dict(
            type="FocalLoss", use_sigmoid=True, activated=True, gamma=2.0, alpha=0.25, loss_weight=1.0
        ),
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, activated=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
    ),
    train_cfg=dict(
        initial_epoch=2,
        initial_assigner=dict(type="ATSSAssigner", topk=9),
        assigner=dict(type="TaskAlignedAssigner", topk=13),
        alpha=1,
        beta=6,
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=500, min_bbox_size=0, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.6), max_per_img=100
    ),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type="AdamW", lr=0.003, weight_decay=0.01))
