"""RetinaNet R-50-FPN with GHM-C and GHM-R on COCO, 1x.

python tools/train.py configs/retinanet_ghm_r50.py            one GPU, --auto-scale-lr
bash tools/dist_train.sh configs/retinanet_ghm_r50.py 8       8 GPUs x 2 images, what lr 0.01 is meant for

The data is read from $COCO_ROOT, or data/coco/.

Published: 37.0 box AP. Source: MMDetection model zoo; the GHM paper has 36.4.

With --cfg-options:
- R-101; published 39.1 box AP, MMDetection model zoo
  model.backbone.depth=101 model.backbone.init_cfg.checkpoint=torchvision://resnet101
- X-101-32x4d; published 40.7 box AP, MMDetection model zoo
  model.backbone.type=ResNeXt model.backbone.depth=101 model.backbone.groups=32 model.backbone.base_width=4
  model.backbone.init_cfg.checkpoint=open-mmlab://resnext101_32x4d
- X-101-64x4d; published 41.4 box AP, MMDetection model zoo
  model.backbone.type=ResNeXt model.backbone.depth=101 model.backbone.groups=64 model.backbone.base_width=4
  model.backbone.init_cfg.checkpoint=open-mmlab://resnext101_64x4d
- one density, and one mean, over all levels; no published figure
  model.bbox_head.type=ghm_mmdet.RetinaHead model.bbox_head.density_scope=batch
- the density counted over all GPUs, for small batches on each; no published figure
  model.bbox_head.loss_cls.sync=True model.bbox_head.loss_bbox.sync=True
"""

_base_ = [
    "_base_/models/retinanet_r50_fpn_ghm.py",
    "_base_/datasets/coco_detection.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
    "mmdet::retinanet/retinanet_tta.py",
]

optim_wrapper = dict(optimizer=dict(lr=0.01), clip_grad=dict(max_norm=35, norm_type=2))
