"""GHM-C as a registered loss."""

from __future__ import annotations

from ghm_mmdet import nn
from ghm_mmdet.losses.backend_notice import BackendNotice
from ghm_mmdet.losses.known_arguments import refuse_unknown_arguments
from ghm_mmdet.losses.roi_channels import SigmoidRoIChannels
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class GHMC(BackendNotice, SigmoidRoIChannels, nn.GHMC):
    """Gradient harmonizing classification loss for mmdet's configs, which is ``ghm_mmdet.nn.GHMC``."""

    def _built(self) -> None:
        super()._built()
        refuse_unknown_arguments(self)
