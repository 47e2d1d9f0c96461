"""Registered backbones."""

from ghm_mmdet.backbones.efficientnet_lite import EfficientNetLite0

__all__ = ["EfficientNetLite0"]
