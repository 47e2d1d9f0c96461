"""RetinaNet R-50-FPN with GHM-C and smooth L1 on COCO, 1x.

bash tools/dist_train.sh configs/ghm/retinanet_r50_fpn_ghmc-1x_coco.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 35.8 box AP. Source: GHM paper; also the 30 bins of the ablation.

With --cfg-options:
- 5 bins; published 33.4 box AP, GHM paper
  model.bbox_head.loss_cls.bins=5
- 10 bins; published 34.6 box AP, GHM paper
  model.bbox_head.loss_cls.bins=10
- 20 bins; published 35.2 box AP, GHM paper
  model.bbox_head.loss_cls.bins=20
- 40 bins; published 35.4 box AP, GHM paper
  model.bbox_head.loss_cls.bins=40
- ASL1 for the boxes; published 35.7 box AP, GHM paper
  model.bbox_head.loss_bbox._delete_=True model.bbox_head.loss_bbox.type=ghm_mmdet.ASL1Loss
  model.bbox_head.loss_bbox.mu=0.02
"""

_base_ = "../retinanet_ghm_r50.py"

model = dict(bbox_head=dict(loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0)))
