"""Registered heads: mmdet's own, with the density over the whole batch, hard example mining and cleanliness labels."""

from ghm_mmdet.heads.clean_rpn_head import CleanRPNHead
from ghm_mmdet.heads.density_scope import ATSSHead, DensityScopeMixin, RetinaHead, RPNHead
from ghm_mmdet.heads.ohem_retina_head import OHEMRetinaHead

__all__ = [
    "ATSSHead",
    "CleanRPNHead",
    "DensityScopeMixin",
    "OHEMRetinaHead",
    "RPNHead",
    "RetinaHead",
]
