"""YOLOX's head with its own cross-entropy on EfficientNet-Lite0 on the digits.

python tools/make_digits.py && python tools/train.py configs/digits/yolox_lite0_digits.py
One CPU core, batches of 4 images.

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_lite0_digits.py"

channels = _base_.model.neck.out_channels
model = dict(
    _delete_=True,
    type="YOLOX",
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    # The other losses of its head are those of mmdet's YOLOX configs by default.
    bbox_head=dict(
        type="YOLOXHead",
        num_classes=10,
        in_channels=channels,
        feat_channels=channels,
        strides=(8, 16, 32),
        loss_obj=dict(type="CrossEntropyLoss", use_sigmoid=True, reduction="sum", loss_weight=1.0),
    ),
    train_cfg=dict(assigner=dict(type="SimOTAAssigner", center_radius=2.5)),
    test_cfg=dict(score_thr=0.01, nms=dict(type="nms", iou_threshold=0.65)),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type="AdamW", lr=0.003, weight_decay=0.05))
