"""GHM-R, the gradient harmonizing regression loss."""

from __future__ import annotations

from torch import Tensor

from ghm_mmdet.functional import checks, cpu_kernel
from ghm_mmdet.functional.asl1 import asl1_root
from ghm_mmdet.functional.density import Density
from ghm_mmdet.functional.harmonized_loss import Samples, Term, as_rows, harmonized_loss


class _ASL1Term(Term):
    """Authentic smooth L1."""

    per_sample = False

    def __init__(self, mu: float):
        self.mu = mu

    def derivative(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.derivative_and_loss(pred, target)[0]

    def loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return asl1_root(pred - target.to(pred.dtype), self.mu) - self.mu

    def derivative_and_loss(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        difference = pred - target.to(pred.dtype)
        root = asl1_root(difference, self.mu)
        return difference.div_(root), root.sub_(self.mu)


def ghm_r_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    mu: float = 0.02,
    bins: int = 10,
    *,
    momentum: float = 0.0,
    acc_sum: Tensor | None = None,
    acc_norm: Tensor | None = None,
    max_weight: float | None = None,
    density: str = "region",
    sync: bool = False,
    reduction: str = "mean",
) -> Tensor:
    r"""Authentic smooth L1 with every element divided by the density of its gradient norm.

    .. math::
        d_i = pred_i - target_i, \quad g_i = \frac{|d_i|}{\sqrt{d_i^2 + \mu^2}}, \quad
        \beta_i = \frac{N}{R_{ind(g_i)}\, n}, \quad L = \frac{1}{N} \sum_i \beta_i\, ASL1(d_i)

    with :math:`R_j` the number of valid elements in unit region j, n the number of regions that are not empty, and N
    the sum of ``weight`` over all elements, at least 1.

    Args:
        pred: floating point, shape (N, 4), or any (..., C); half and bfloat16 are computed in float32.
        target: real, the shape of ``pred``.
        weight: shape (N,), (N, 1) or that of ``pred``. An element counts where it is above 0; its size only enters N.
            ``None`` counts all elements with 1.
        mu: of ASL1, above 0.
        bins: number of unit regions M, at least 1.
        momentum: of the moving average of the counts, in [0, 1); 0 takes this call's counts alone.
        acc_sum: the moving average, floating point, shape (bins,), updated in place; needed with ``momentum``. Start
            it at 0.
        acc_norm: as ``acc_sum``; corrects the moving average's start (see :func:`harmonizing_weight`).
        max_weight: upper bound of :math:`\beta`, above 0.
        density: ``"region"``, or ``"exact"`` for :math:`\beta_i = N / GD(g_i)` with the density of
            :func:`exact_gradient_density`, its window 1 / M wide; that has no moving average.
        sync: whether N, R and n are those of all ranks of torch.distributed, at the cost of one small all-reduce that
            every rank must take part in. The average of the ranks' losses and gradients is then that of one process
            with all samples, whatever the share of each rank.
        reduction: ``"mean"`` for L, ``"sum"`` for N L, ``"none"`` for the :math:`\beta_i\, ASL1` of each element.

    Returns:
        A scalar, or the shape of ``pred`` with ``"none"``; float32, or float64 for float64 input. Empty or entirely
        ignored input gives 0, still attached to ``pred``. The gradient flows to ``pred`` alone, takes :math:`\beta` as
        constant, and cannot be differentiated again.

    Raises:
        ValueError: an argument is out of its range, or shapes, dtypes or devices do not fit together. Values are not
            looked at.

    Example:
        >>> ghm_r_loss(torch.tensor([[0.0, 0.0, 0.0, 1.0]]), torch.zeros(1, 4), mu=0.02, reduction="none")
        tensor([[0.0000, 0.0000, 0.0000, 1.9604]])

    Source: GHM paper (Li, Liu and Wang, AAAI 2019, arXiv:1811.05181), section "GHM-R Loss"; N as in the authors'
    release.
    """
    checks.check_positive("mu", mu)
    checks.check_reduction(reduction)
    checks.check_prediction("pred", pred)
    checks.check_dense_target(target, pred, "pred")
    settings = Density(bins, momentum, acc_sum, acc_norm, max_weight, density, sync)
    settings.check(pred)
    weight = checks.rows_of_weight(weight, pred)

    rows = as_rows(pred)
    samples = Samples(rows, (as_rows(target),), weight)
    sum_of_weight = None if weight is None else weight.expand(rows.shape).sum(dtype=samples.dtype)
    if cpu_kernel.serves(samples, settings, reduction):
        return cpu_kernel.harmonized_loss(samples, "asl1", settings, reduction, sum_of_weight, mu)
    loss = harmonized_loss(samples, _ASL1Term(mu), settings, reduction, sum_of_weight)
    return loss.view(pred.shape) if reduction == "none" else loss
