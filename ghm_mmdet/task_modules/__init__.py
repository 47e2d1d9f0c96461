"""The registered assigners and samplers."""

from ghm_mmdet.task_modules.stratified_ohem_sampler import StratifiedOHEMSampler
from ghm_mmdet.task_modules.top_n_iou_assigner import TopNIoUAssigner

__all__ = ["StratifiedOHEMSampler", "TopNIoUAssigner"]
