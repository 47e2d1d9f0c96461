"""A small Faster R-CNN on the digits, its RPN trained on 256 sampled anchors of an image.

python tools/train.py configs/digits/faster-rcnn_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure.

With --cfg-options:
- OHEM in the RoI head; no published figure
  model.train_cfg.rcnn.sampler.type=OHEMSampler
- S-OHEM in the RoI head; no published figure
  model.train_cfg.rcnn.sampler._delete_=True model.train_cfg.rcnn.sampler.type=ghm_mmdet.StratifiedOHEMSampler
  model.train_cfg.rcnn.sampler.num=64
- Balanced L1 in the RoI head; no published figure
  model.roi_head.bbox_head.loss_bbox.type=BalancedL1Loss model.roi_head.bbox_head.loss_bbox.alpha=0.5
  model.roi_head.bbox_head.loss_bbox.gamma=1.5 model.roi_head.bbox_head.loss_bbox.beta=1.0
"""

_base_ = "../retinanet_ghm_digits.py"

channels = _base_.model.neck.out_channels
strides = _base_.model.bbox_head.anchor_generator.strides
model = dict(
    _delete_=True,
    type="FasterRCNN",
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    rpn_head=dict(
        type="RPNHead",
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(type="AnchorGenerator", scales=[2.0, 3.0], ratios=[1.4], strides=strides),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    ),
    roi_head=dict(
        type="StandardRoIHead",
        bbox_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=2),
            out_channels=channels,
            featmap_strides=strides,
            finest_scale=28,
        ),
        bbox_head=dict(
            type="Shared2FCBBoxHead",
            in_channels=channels,
            fc_out_channels=128,
            roi_feat_size=7,
            num_classes=10,
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=True,
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
            sampler=dict(type="RandomSampler", num=256, pos_fraction=0.5, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1,
        ),
        rpn_proposal=dict(nms_pre=500, max_per_img=200, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False
            ),
            sampler=dict(type="RandomSampler", num=64, pos_fraction=0.25),
            pos_weight=-1,
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=500, max_per_img=100, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=50),
    ),
)
