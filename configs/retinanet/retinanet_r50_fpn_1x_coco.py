"""RetinaNet R-50-FPN with Focal Loss and L1 on COCO, 1x: MMDetection's own settings.

bash tools/dist_train.sh configs/retinanet/retinanet_r50_fpn_1x_coco.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 36.5 box AP. Source: MMDetection model zoo.

With --cfg-options:
- smooth L1 for the boxes; published 35.6 box AP, 34.0 box AP (600 px), GHM paper (Focal Loss paper)
  model.bbox_head.loss_bbox.type=SmoothL1Loss model.bbox_head.loss_bbox.beta=0.11
- R-101; published 38.5 box AP, MMDetection model zoo
  model.backbone.depth=101 model.backbone.init_cfg.checkpoint=torchvision://resnet101
- X-101-32x4d; published 39.9 box AP, MMDetection model zoo
  model.backbone.type=ResNeXt model.backbone.depth=101 model.backbone.groups=32 model.backbone.base_width=4
  model.backbone.init_cfg.checkpoint=open-mmlab://resnext101_32x4d
- X-101-64x4d; published 41.0 box AP, MMDetection model zoo
  model.backbone.type=ResNeXt model.backbone.depth=101 model.backbone.groups=64 model.backbone.base_width=4
  model.backbone.init_cfg.checkpoint=open-mmlab://resnext101_64x4d
"""

_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "../_base_/datasets/coco_detection.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
    "mmdet::retinanet/retinanet_tta.py",
]

optim_wrapper = dict(optimizer=dict(lr=0.01))
