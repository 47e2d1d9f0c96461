"""The mathematics of gradient harmonizing as pure functions of tensors; torch is all they need."""

from .asl1 import asl1_loss
from .balanced_cross_entropy import balanced_cross_entropy_loss
from .dr import dr_loss
from .exact_density import exact_gradient_density
from .focal_star import focal_star_loss
from .ghm_c import ghm_c_loss
from .ghm_r import ghm_r_loss
from .gradient_norm import classification_gradient_norm, regression_gradient_norm
from .gradient_scale import focal_gradient_norm, ghm_gradient_norm, smooth_l1_gradient_norm
from .harmonizing_weight import harmonizing_weight
from .noisy_anchors import cleanliness, cleanliness_weight, rescaled_cleanliness
from .ohem import ohem_loss
from .optimal_bias import optimal_bias
from .soft_focal import soft_focal_loss
from .spatial_dropout import occlusion_windows, sample_occlusion
from .stratified_mining import stratified_hard_samples
from .threshold_cross_entropy import threshold_cross_entropy_loss
from .unit_region import region_count, unit_region

__all__ = [
    "asl1_loss",
    "balanced_cross_entropy_loss",
    "classification_gradient_norm",
    "cleanliness",
    "cleanliness_weight",
    "dr_loss",
    "exact_gradient_density",
    "focal_gradient_norm",
    "focal_star_loss",
    "ghm_c_loss",
    "ghm_gradient_norm",
    "ghm_r_loss",
    "harmonizing_weight",
    "occlusion_windows",
    "ohem_loss",
    "optimal_bias",
    "region_count",
    "regression_gradient_norm",
    "rescaled_cleanliness",
    "sample_occlusion",
    "smooth_l1_gradient_norm",
    "soft_focal_loss",
    "stratified_hard_samples",
    "threshold_cross_entropy_loss",
    "unit_region",
]
