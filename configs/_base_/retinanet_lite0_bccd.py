"""The small RetinaNet on EfficientNet-Lite0, on BCCD."""

_base_ = ["retinanet_lite0.py", "bccd.py"]
