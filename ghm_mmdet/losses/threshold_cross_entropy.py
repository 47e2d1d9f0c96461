"""Cross-entropy above a threshold of the gradient norm, as a registered loss."""

from __future__ import annotations

import torch
from mmdet.utils import reduce_mean
from torch import Tensor

from ghm_mmdet.functional import checks, threshold_cross_entropy_loss
from ghm_mmdet.functional.probability import logits_of_probabilities
from ghm_mmdet.losses.element_loss import SigmoidElementLoss
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class ThresholdCrossEntropyLoss(SigmoidElementLoss):
    """Binary cross-entropy without the easy crowd; see :func:`ghm_mmdet.functional.threshold_cross_entropy_loss`.

    Positives are counted in one call, all images together: with mmdet's heads those of one level of the feature
    pyramid, with ``density_scope="batch"`` those of all levels. ``"mean"`` without ``avg_factor`` divides by the number
    of all elements.

    Args:
        threshold: gradient norm from which on an element counts, in [0, 1]; 1 / 30 is the first of 30 unit regions.
        use_sigmoid: must be true. mmdet's heads read it from the config to decide on the number of logits, so write it
            there.
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        activated: whether predictions are probabilities already, after the sigmoid.
        sync: whether the positives of all ranks count, and the mean of their ``avg_factor``; every rank must then call
            the loss. The average of the ranks' gradients is then that of one process with all samples.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        threshold: float = 1 / 30,
        use_sigmoid: bool = True,
        loss_weight: float = 1.0,
        reduction: str = "mean",
        activated: bool = False,
        sync: bool = False,
    ):
        super().__init__(use_sigmoid, loss_weight, reduction)
        checks.check_fraction("threshold", threshold)
        self.threshold = threshold
        self.activated = activated
        self.sync = sync

    def forward(
        self,
        pred: Tensor,
        target: Tensor | tuple[Tensor, Tensor],
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            pred: logits, shape (N, C).
            target: integer labels of shape (N,), background being C, or values in [0, 1] of shape (N, C), or a pair of
                labels and scores of shape (N,).
            weight: factor on the loss, shape (N,), (N, 1) or (N, C).
            avg_factor: what ``"mean"`` divides the sum by, in place of the number of elements.
            reduction_override: takes the place of ``reduction``.

        Raises:
            ValueError: shapes, dtypes or devices do not fit together, the reduction is unknown, or it is ``"sum"``
                together with an ``avg_factor``.
        """
        if self.activated:
            pred = logits_of_probabilities(pred, weight)
        loss = threshold_cross_entropy_loss(pred, target, weight, self.threshold, self.sync)
        if self.sync and (reduction_override or self.reduction) == "mean":
            divisor = loss.numel() if avg_factor is None else avg_factor
            avg_factor = reduce_mean(torch.as_tensor(divisor, dtype=loss.dtype, device=loss.device))
        return self._reduce(loss, avg_factor, reduction_override)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, activated={self.activated}, sync={self.sync}, {super().extra_repr()}"
