"""RetinaNet R-50-FPN with Focal Loss and smooth L1 on VOC 2007 + 2012.

bash tools/dist_train.sh configs/pascal_voc/retinanet_r50_fpn_1x_voc0712.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 74.5 mAP. Source: GHM's author, who does not say whether on VOC 2007 or 07+12.

With --cfg-options:
- no warm-up, and L1 for the boxes; published 79.2 mAP, MMDetection model zoo, gradients not clipped
  param_scheduler.0.start_factor=1.0 model.bbox_head.loss_bbox._delete_=True model.bbox_head.loss_bbox.type=L1Loss
"""

_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "../_base_/datasets/voc0712.py",
    "../_base_/schedules/schedule_voc.py",
    "mmdet::_base_/default_runtime.py",
]

model = dict(
    bbox_head=dict(
        num_classes=len(_base_.metainfo.classes),
        loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0),
    )
)
