"""The small RetinaNet on EfficientNet-Lite0, on a data set of one's own: what `ghm-mmdet start` takes on a CPU."""

_base_ = ["models/retinanet_lite0_fpn.py", "datasets/custom_detection.py", "schedules/schedule_6e.py"]
