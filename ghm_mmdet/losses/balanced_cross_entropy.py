"""Alpha-balanced cross-entropy as a registered loss."""

from __future__ import annotations

from torch import Tensor

from ghm_mmdet.functional import balanced_cross_entropy_loss, checks
from ghm_mmdet.losses.element_loss import SigmoidElementLoss
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class AlphaBalancedCrossEntropyLoss(SigmoidElementLoss):
    """Binary cross-entropy with one factor for positives and another for negatives.

    See :func:`ghm_mmdet.functional.balanced_cross_entropy_loss` for the formula.

    Args:
        alpha: factor of a positive, in [0, 1]; a negative has 1 - alpha.
        use_sigmoid: must be true. mmdet's heads read it from the config to decide on the number of logits, so write it
            there.
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self, alpha: float = 0.75, use_sigmoid: bool = True, loss_weight: float = 1.0, reduction: str = "mean"
    ):
        super().__init__(use_sigmoid, loss_weight, reduction)
        checks.check_fraction("alpha", alpha)
        self.alpha = alpha

    def element_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return balanced_cross_entropy_loss(pred, target, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}, {super().extra_repr()}"
