"""Faster R-CNN R-50-FPN on COCO, 1x: MMDetection's own settings.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py 8
8 GPUs x 2 images, what lr 0.02 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 37.4 box AP. Source: MMDetection model zoo.

With --cfg-options:
- smooth L1 for the boxes; published 36.4 box AP, GHM paper
  model.rpn_head.loss_bbox.type=SmoothL1Loss model.rpn_head.loss_bbox.beta=0.11
  model.roi_head.bbox_head.loss_bbox.type=SmoothL1Loss model.roi_head.bbox_head.loss_bbox.beta=1.0
- softmax GHM-C in the RoI head; no published figure
  model.roi_head.bbox_head.loss_cls.type=ghm_mmdet.GHMC model.roi_head.bbox_head.loss_cls.bins=30
  model.roi_head.bbox_head.loss_cls.momentum=0.75
- GHM-C in the RPN, over all anchors; no published figure
  model.rpn_head.type=ghm_mmdet.RPNHead model.rpn_head.density_scope=batch model.rpn_head.loss_cls.type=ghm_mmdet.GHMC
  model.rpn_head.loss_cls.bins=30 model.rpn_head.loss_cls.momentum=0.75 model.train_cfg.rpn.sampler._delete_=True
  model.train_cfg.rpn.sampler.type=PseudoSampler
- OHEM in the RoI head; published 37.7 box AP, UNA (arXiv:2312.13822), its row without noise, by second-hand notes
  model.train_cfg.rcnn.sampler.type=OHEMSampler
- S-OHEM in the RoI head; no published figure
  model.train_cfg.rcnn.sampler._delete_=True model.train_cfg.rcnn.sampler.type=ghm_mmdet.StratifiedOHEMSampler
  model.train_cfg.rcnn.sampler.num=512
- Balanced L1 in the RoI head; no published figure
  model.roi_head.bbox_head.loss_bbox.type=BalancedL1Loss model.roi_head.bbox_head.loss_bbox.alpha=0.5
  model.roi_head.bbox_head.loss_bbox.gamma=1.5 model.roi_head.bbox_head.loss_bbox.beta=1.0
"""

_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "../_base_/datasets/coco_detection.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]
