"""RTMDet's head with its own Quality Focal Loss on EfficientNet-Lite0 on the digits.

python tools/make_digits.py && python tools/train.py configs/digits/rtmdet_lite0_digits.py
One CPU core, batches of 4 images.

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_lite0_digits.py"

channels = _base_.model.neck.out_channels
model = dict(
    _delete_=True,
    type="RTMDet",
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    bbox_head=dict(
        type="RTMDetSepBNHead",
        num_classes=10,
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=2,
        anchor_generator=dict(type="MlvlPointGenerator", offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type="DistancePointBBoxCoder"),
        loss_cls=dict(type="QualityFocalLoss", use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        with_objectness=False,
        exp_on_reg=False,
        share_conv=True,
        pred_kernel_size=1,
        norm_cfg=dict(type="BN"),
        act_cfg=dict(type="SiLU", inplace=True),
    ),
    train_cfg=dict(
        assigner=dict(type="DynamicSoftLabelAssigner", topk=13), allowed_border=-1, pos_weight=-1, debug=False
    ),
    test_cfg=dict(
        nms_pre=500, min_bbox_size=0, score_thr=0.001, nms=dict(type="nms", iou_threshold=0.65), max_per_img=100
    ),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type="AdamW", lr=0.01, weight_decay=0.05))
