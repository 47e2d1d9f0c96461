"""RetinaNet R-50-FPN with GHM-C and GHM-R on VOC 2007 + 2012.

bash tools/dist_train.sh configs/pascal_voc/retinanet_r50_fpn_ghm-1x_voc0712.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 74.8 mAP. Source: GHM's author, who does not say whether on VOC 2007 or 07+12.

With --cfg-options:
- no warm-up; no published figure
  param_scheduler.0.start_factor=1.0
"""

_base_ = [
    "../_base_/models/retinanet_r50_fpn_ghm.py",
    "../_base_/datasets/voc0712.py",
    "../_base_/schedules/schedule_voc.py",
    "mmdet::_base_/default_runtime.py",
]

model = dict(bbox_head=dict(num_classes=len(_base_.metainfo.classes)))
