"""Authentic smooth L1 as a registered loss."""

from __future__ import annotations

from torch import Tensor

from ghm_mmdet.functional import asl1_loss, checks
from ghm_mmdet.losses.element_loss import ElementLoss
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class ASL1Loss(ElementLoss):
    """Authentic smooth L1 loss; see :func:`ghm_mmdet.functional.asl1_loss` for the formula.

    Takes the place of mmdet's SmoothL1Loss. GHM-R without its harmonizing weights is this loss.

    Args:
        mu: where the loss turns from quadratic to linear, above 0.
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, mu: float = 0.02, loss_weight: float = 1.0, reduction: str = "mean"):
        super().__init__(loss_weight, reduction)
        checks.check_positive("mu", mu)
        self.mu = mu

    def element_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return asl1_loss(pred, target, self.mu)

    def extra_repr(self) -> str:
        return f"mu={self.mu}, {super().extra_repr()}"
