"""A small DINO with its own Focal Loss on EfficientNet-Lite0 on the digits.

python tools/make_digits.py && python tools/train.py configs/digits/dino_lite0_digits.py
One CPU core, batches of 4 images. One encoder layer, two decoder layers, 50 queries.

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_lite0_digits.py"

# mmdet's decoder embeds boxes in 256 channels, whatever the config says.
channels, levels = 256, 3
attention = dict(embed_dims=channels, num_heads=8, dropout=0.0)
attention_to_levels = dict(embed_dims=channels, num_levels=levels, dropout=0.0)
ffn_cfg = dict(embed_dims=channels, feedforward_channels=256, ffn_drop=0.0)
model = dict(
    _delete_=True,
    type="DINO",
    num_queries=50,
    num_feature_levels=levels,
    with_box_refine=True,
    as_two_stage=True,
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=dict(
        type="ChannelMapper",
        in_channels=_base_.model.neck.in_channels,
        kernel_size=1,
        out_channels=channels,
        act_cfg=None,
        norm_cfg=dict(type="GN", num_groups=16),
        num_outs=levels,
    ),
    encoder=dict(num_layers=1, num_cp=0, layer_cfg=dict(self_attn_cfg=attention_to_levels, ffn_cfg=ffn_cfg)),
    decoder=dict(
        num_layers=2,
        return_intermediate=True,
        layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention_to_levels, ffn_cfg=ffn_cfg),
        post_norm_cfg=None,
    ),
    positional_encoding=dict(num_feats=channels // 2, normalize=True, offset=0.0, temperature=20),
    bbox_head=dict(
        type="DINOHead",
        num_classes=10,
        sync_cls_avg_factor=True,
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=5.0),
        loss_iou=dict(type="GIoULoss", loss_weight=2.0),
    ),
    dn_cfg=dict(
        label_noise_scale=0.5,
        box_noise_scale=1.0,
        group_cfg=dict(dynamic=True, num_groups=None, num_dn_queries=20),
    ),
    train_cfg=dict(
        assigner=dict(
            type="HungarianAssigner",
            match_costs=[
                dict(type="FocalLossCost", weight=2.0),
                dict(type="BBoxL1Cost", weight=5.0, box_format="xywh"),
                dict(type="IoUCost", iou_mode="giou", weight=2.0),
            ],
        )
    ),
    test_cfg=dict(max_per_img=50),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=0.0006, weight_decay=0.0001),
    clip_grad=dict(max_norm=1.0),
)
