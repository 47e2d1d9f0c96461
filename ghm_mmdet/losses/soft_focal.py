"""Focal Loss for soft labels as a registered loss."""

from __future__ import annotations

from torch import Tensor

from ghm_mmdet.functional import checks, soft_focal_loss
from ghm_mmdet.losses.element_loss import SigmoidElementLoss
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class SoftFocalLoss(SigmoidElementLoss):
    """Focal Loss for soft labels; see :func:`ghm_mmdet.functional.soft_focal_loss` for the formula.

    Args:
        gamma: at least 0, finite.
        alpha: factor of a positive, in [0, 1]; a negative has 1 - alpha.
        use_sigmoid: must be true. mmdet's heads read it from the config to decide on the number of logits, so write it
            there.
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float = 0.5,
        use_sigmoid: bool = True,
        loss_weight: float = 1.0,
        reduction: str = "mean",
    ):
        super().__init__(use_sigmoid, loss_weight, reduction)
        checks.check_not_negative("gamma", gamma)
        checks.check_fraction("alpha", alpha)
        self.gamma = gamma
        self.alpha = alpha

    def element_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return soft_focal_loss(pred, target, self.gamma, self.alpha)

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}, alpha={self.alpha}, {super().extra_repr()}"
