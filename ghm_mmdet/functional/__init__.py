"""The mathematics of gradient harmonizing as pure functions of tensors; torch is all they need."""

from ghm_mmdet.functional.asl1 import asl1_loss
from ghm_mmdet.functional.ghm_c import ghm_c_loss
from ghm_mmdet.functional.ghm_r import ghm_r_loss
from ghm_mmdet.functional.harmonizing_weight import harmonizing_weight
from ghm_mmdet.functional.unit_region import region_count, unit_region

__all__ = ["asl1_loss", "ghm_c_loss", "ghm_r_loss", "harmonizing_weight", "region_count", "unit_region"]
