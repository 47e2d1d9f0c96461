"""Cross-entropy above a threshold of the gradient norm, as a registered loss."""

from __future__ import annotations

from torch import Tensor

from ghm_mmdet.functional import checks, threshold_cross_entropy_loss
from ghm_mmdet.losses.element_loss import SigmoidElementLoss
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class ThresholdCrossEntropyLoss(SigmoidElementLoss):
    """Binary cross-entropy without the easy crowd; see :func:`ghm_mmdet.functional.threshold_cross_entropy_loss`.

    Positives are counted in one call, all images together: with mmdet's heads those of one level of the feature
    pyramid, with ``density_scope="batch"`` those of all levels; of several GPUs each counts its own. ``"mean"`` without
    ``avg_factor`` divides by the number of all elements.

    Args:
        threshold: gradient norm from which on an element counts, in [0, 1]; 1 / 30 is the first of 30 unit regions.
        use_sigmoid: must be true. mmdet's heads read it from the config to decide on the number of logits, so write it
            there.
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        threshold: float = 1 / 30,
        use_sigmoid: bool = True,
        loss_weight: float = 1.0,
        reduction: str = "mean",
    ):
        super().__init__(use_sigmoid, loss_weight, reduction)
        checks.check_fraction("threshold", threshold)
        self.threshold = threshold

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            pred: logits, shape (N, C).
            target: integer labels of shape (N,), background being C, or values in [0, 1] of shape (N, C).
            weight: factor on the loss, shape (N,), (N, 1) or (N, C).
            avg_factor: what ``"mean"`` divides the sum by, in place of the number of elements.
            reduction_override: takes the place of ``reduction``.

        Raises:
            ValueError: shapes, dtypes or devices do not fit together, the reduction is unknown, or it is ``"sum"``
                together with an ``avg_factor``.
        """
        loss = threshold_cross_entropy_loss(pred, target, weight, self.threshold)
        return self._reduce(loss, avg_factor, reduction_override)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, {super().extra_repr()}"
