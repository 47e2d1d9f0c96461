"""Registered heads: mmdet's own, with the density over the whole batch, hard examples, clean labels or an adversary."""

from ghm_mmdet.heads.adversarial_dropout_roi_head import AdversarialDropoutRoIHead
from ghm_mmdet.heads.clean_rpn_head import CleanRPNHead
from ghm_mmdet.heads.density_scope import (
    ATSSHead,
    DensityScopeMixin,
    GFLHead,
    RetinaHead,
    RPNHead,
    RTMDetHead,
    RTMDetSepBNHead,
    TOODHead,
)
from ghm_mmdet.heads.noisy_anchor_retina_head import NoisyAnchorRetinaHead
from ghm_mmdet.heads.ohem_retina_head import OHEMRetinaHead

__all__ = [
    "ATSSHead",
    "AdversarialDropoutRoIHead",
    "CleanRPNHead",
    "DensityScopeMixin",
    "GFLHead",
    "NoisyAnchorRetinaHead",
    "OHEMRetinaHead",
    "RPNHead",
    "RTMDetHead",
    "RTMDetSepBNHead",
    "RetinaHead",
    "TOODHead",
]
