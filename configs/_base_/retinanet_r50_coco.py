"""RetinaNet R-50-FPN on COCO, 1x, with Focal Loss and L1: MMDetection's settings, with the data root of coco.py."""

_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "coco.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
    "mmdet::retinanet/retinanet_tta.py",
]
optim_wrapper = dict(optimizer=dict(lr=0.01))
