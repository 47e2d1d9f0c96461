"""The registered losses: they keep arguments and state, and call :mod:`ghm_mmdet.functional` with mmdet's signature."""

from ghm_mmdet.losses.asl1_loss import ASL1Loss
from ghm_mmdet.losses.balanced_cross_entropy import AlphaBalancedCrossEntropyLoss
from ghm_mmdet.losses.dr import DRLoss
from ghm_mmdet.losses.focal_star import FocalStarLoss
from ghm_mmdet.losses.ghm_c import GHMC
from ghm_mmdet.losses.ghm_r import GHMR
from ghm_mmdet.losses.ohem import OHEMLoss
from ghm_mmdet.losses.soft_focal import SoftFocalLoss
from ghm_mmdet.losses.threshold_cross_entropy import ThresholdCrossEntropyLoss

__all__ = [
    "GHMC",
    "GHMR",
    "ASL1Loss",
    "AlphaBalancedCrossEntropyLoss",
    "DRLoss",
    "FocalStarLoss",
    "OHEMLoss",
    "SoftFocalLoss",
    "ThresholdCrossEntropyLoss",
]
