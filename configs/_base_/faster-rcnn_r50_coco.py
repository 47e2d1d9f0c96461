"""Faster R-CNN R-50-FPN on COCO, 1x: MMDetection's settings, with the data root of coco.py."""

_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "coco.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]
