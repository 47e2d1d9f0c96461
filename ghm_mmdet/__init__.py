"""Gradient harmonizing (GHM) for object detection, a plugin for MMDetection 3.x.

``ghm_mmdet.functional`` needs torch alone. ``ghm_mmdet.losses`` registers the losses; a config reaches them as
``type="ghm_mmdet.GHMC"`` without any import of its own.
"""

__version__ = "0.1.0"
