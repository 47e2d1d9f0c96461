"""The mathematics of gradient harmonizing as pure functions of tensors; torch is all they need."""

from ghm_mmdet.functional.asl1 import asl1_loss
from ghm_mmdet.functional.balanced_cross_entropy import balanced_cross_entropy_loss
from ghm_mmdet.functional.cleanliness import cleanliness
from ghm_mmdet.functional.exact_density import exact_gradient_density
from ghm_mmdet.functional.focal_star import focal_star_loss
from ghm_mmdet.functional.ghm_c import ghm_c_loss
from ghm_mmdet.functional.ghm_r import ghm_r_loss
from ghm_mmdet.functional.gradient_norm import classification_gradient_norm, regression_gradient_norm
from ghm_mmdet.functional.gradient_scale import focal_gradient_norm, ghm_gradient_norm, smooth_l1_gradient_norm
from ghm_mmdet.functional.harmonizing_weight import harmonizing_weight
from ghm_mmdet.functional.ohem import ohem_loss
from ghm_mmdet.functional.optimal_bias import optimal_bias
from ghm_mmdet.functional.unit_region import region_count, unit_region

__all__ = [
    "asl1_loss",
    "balanced_cross_entropy_loss",
    "classification_gradient_norm",
    "cleanliness",
    "exact_gradient_density",
    "focal_gradient_norm",
    "focal_star_loss",
    "ghm_c_loss",
    "ghm_gradient_norm",
    "ghm_r_loss",
    "harmonizing_weight",
    "ohem_loss",
    "optimal_bias",
    "region_count",
    "regression_gradient_norm",
    "smooth_l1_gradient_norm",
    "unit_region",
]
