"""RetinaNet R-50-FPN with cross-entropy, its bias at a prior of 0.01, and smooth L1 on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_r50_fpn_ce-1x_coco.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 28.6 box AP, 30.2 box AP (600 px). Source: GHM paper (Focal Loss paper).

With --cfg-options:
- alpha-balanced cross-entropy; published 31.1 box AP (600 px), Focal Loss paper, table 1a
  model.bbox_head.loss_cls.type=ghm_mmdet.AlphaBalancedCrossEntropyLoss model.bbox_head.loss_cls.alpha=0.75
- FL*; published 33.8 box AP (600 px), Focal Loss paper, table 3, which has 33.9 with gamma 4 and beta 0
  model.bbox_head.loss_cls.type=ghm_mmdet.FocalStarLoss model.bbox_head.loss_cls.gamma=2.0
  model.bbox_head.loss_cls.beta=1.0 model.bbox_head.loss_cls.alpha=0.25
- OHEM, the 128 hardest anchors of each image; published 31.1 box AP (R-101, 600 px), Focal Loss paper, table 1d
  model.bbox_head.type=ghm_mmdet.OHEMRetinaHead model.bbox_head.num=128 model.bbox_head.ohem_iou_threshold=0.7
- OHEM, positives to negatives as 1 to 3 among 128 anchors of each image; published 31.1 box AP (R-101, 600 px), Focal
  Loss paper, table 1d
  model.bbox_head.type=ghm_mmdet.OHEMRetinaHead model.bbox_head.num=128 model.bbox_head.neg_pos_ratio=3
  model.bbox_head.ohem_iou_threshold=0.5
"""

_base_ = "retinanet_r50_fpn_1x_coco.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0),
    )
)
