"""GHM-C, the gradient harmonizing classification loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ghm_mmdet.functional import checks
from ghm_mmdet.functional.harmonized_loss import HarmonizedLoss, Samples, as_rows, density_count
from ghm_mmdet.functional.harmonizing_weight import harmonizing_weight


class _LabelTerm:
    """Binary cross-entropy against integer labels, without the one-hot target ever being written out."""

    @staticmethod
    def _column(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The column of each sample's own class, and whether the sample has one."""
        classes = logits.shape[1]
        foreground = (label >= 0) & (label < classes)
        return label.long().clamp(0, classes - 1).unsqueeze(1), foreground.unsqueeze(1)

    def gradient_norm(self, pred: Tensor, target: Tensor) -> Tensor:
        column, foreground = self._column(pred, target)
        probability = pred.sigmoid()
        own = probability.gather(1, column)
        return probability.scatter_(1, column, torch.where(foreground, 1 - own, own))

    def loss_and_derivative(self, pred: Tensor, target: Tensor, gradient_norm: Tensor) -> tuple[Tensor, Tensor]:
        column, foreground = self._column(pred, target)
        own = pred.gather(1, column)
        loss = F.softplus(pred).scatter_(1, column, F.softplus(torch.where(foreground, -own, own)))
        own = gradient_norm.gather(1, column)
        return loss, gradient_norm.scatter_(1, column, torch.where(foreground, -own, own))


class _DenseTerm:
    """Binary cross-entropy against one target in [0, 1] for each logit."""

    def gradient_norm(self, pred: Tensor, target: Tensor) -> Tensor:
        return pred.sigmoid().sub_(target.to(pred.dtype)).abs_()

    def loss_and_derivative(self, pred: Tensor, target: Tensor, gradient_norm: Tensor) -> tuple[Tensor, Tensor]:
        target = target.to(pred.dtype)
        return F.binary_cross_entropy_with_logits(pred, target, reduction="none"), pred.sigmoid().sub_(target)


def ghm_c_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    bins: int = 30,
    *,
    momentum: float = 0.0,
    acc_sum: Tensor | None = None,
    acc_norm: Tensor | None = None,
    max_weight: float | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Binary cross-entropy with every element divided by the density of its gradient norm.

    .. math::
        g_i = |\sigma(x_i) - t_i|, \quad \beta_i = \frac{N}{R_{ind(g_i)}\, n}, \quad
        L = \frac{1}{N} \sum_i \beta_i\, BCE(x_i, t_i)

    for logits x and target t, with :math:`R_j` the number of valid elements in unit region j, n the number of regions
    that are not empty, and N the number of valid elements. One region makes it plain BCE.

    Args:
        logits: floating point, shape (N, C), or any (..., C); half and bfloat16 are computed in float32.
        target: integer labels of shape (N,), any value outside 0 to C - 1 being background, or values in [0, 1] of the
            shape of ``logits``: one-hot, several classes at once, or soft.
        weight: shape (N,), (N, 1) or that of ``logits``; an element counts where it is above 0, and its size has no
            effect. ``None`` counts all elements.
        bins: number of unit regions M, at least 1.
        momentum: of the moving average of the counts, in [0, 1); 0 takes this call's counts alone.
        acc_sum: the moving average, floating point, shape (bins,), updated in place; needed with ``momentum``. Start
            it at 0.
        acc_norm: as ``acc_sum``; corrects the moving average's start (see :func:`harmonizing_weight`).
        max_weight: upper bound of :math:`\beta`, above 0.
        reduction: ``"mean"`` for L, ``"sum"`` for N L, ``"none"`` for the :math:`\beta_i\, BCE` of each element.

    Returns:
        A scalar, or the shape of ``logits`` with ``"none"``; float32, or float64 for float64 logits. Empty or entirely
        ignored input gives 0, still attached to ``logits``. The gradient flows to ``logits`` alone, takes
        :math:`\beta` as constant, and cannot be differentiated again.

    Raises:
        ValueError: an argument is out of its range, or shapes, dtypes or devices do not fit together. Values are not
            looked at.

    Source: GHM paper (Li, Liu and Wang, AAAI 2019, arXiv:1811.05181), section "GHM-C Loss".
    """
    checks.check_reduction(reduction)
    checks.check_prediction("logits", logits)
    checks.check_class_target(target, logits)
    checks.check_density(bins, momentum, acc_sum, acc_norm, max_weight, logits)
    weight = checks.rows_of_weight(weight, logits)

    dense = target.dim() == logits.dim()
    rows = as_rows(logits)
    samples = Samples(rows, as_rows(target) if dense else target.flatten(), None if weight is None else weight > 0)
    term = _DenseTerm() if dense else _LabelTerm()
    count = density_count(samples, term, bins)
    total = count.sum().clamp(min=1).to(torch.promote_types(logits.dtype, torch.float32))
    region_weight = harmonizing_weight(
        count, total, momentum=momentum, acc_sum=acc_sum, acc_norm=acc_norm, max_weight=max_weight
    )
    loss = HarmonizedLoss.apply(rows, samples, term, region_weight, reduction != "none")
    if reduction == "none":
        return loss.view(logits.shape)
    return loss / total if reduction == "mean" else loss
