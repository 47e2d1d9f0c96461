"""The registered assigners and samplers."""

from ghm_mmdet.task_modules.top_n_iou_assigner import TopNIoUAssigner

__all__ = ["TopNIoUAssigner"]
