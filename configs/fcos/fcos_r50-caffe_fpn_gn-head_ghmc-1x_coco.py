"""FCOS R-50-FPN with GHM-C on COCO, 1x.

bash tools/dist_train.sh configs/fcos/fcos_r50-caffe_fpn_gn-head_ghmc-1x_coco.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 25.0 box AP (about). Source: a user's report, who has 36.4 with cross-entropy; the zoo has 36.6 with Focal
Loss.
"""

_base_ = [
    "../_base_/datasets/coco_detection.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]

import mmengine.hub  # noqa: E402, after _base_, or mmengine takes this for a config of another kind

# mmdet's config as a base would bring mmdet's own path of COCO.
fcos = mmengine.hub.get_config("mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py")
model = fcos.model
model.bbox_head.loss_cls = dict(type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0)
param_scheduler = fcos.param_scheduler
optim_wrapper = fcos.optim_wrapper
del fcos
