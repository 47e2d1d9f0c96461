"""The small RetinaNet on EfficientNet-Lite0, on a data set of one's own: what `ghm-mmdet start` takes on a CPU."""

_base_ = ["retinanet_lite0.py", "custom_dataset.py"]
