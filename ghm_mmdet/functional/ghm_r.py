"""GHM-R, the gradient harmonizing regression loss."""

from __future__ import annotations

import torch
from torch import Tensor

from . import checks
from .harmonized_loss import as_rows, harmonized_loss
from .weighting import Weighting


def ghm_r_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    mu: float | Tensor = 0.02,
    bins: int = 10,
    *,
    momentum: float = 0.0,
    acc_sum: Tensor | None = None,
    acc_norm: Tensor | None = None,
    average: str = "counts",
    update_average: bool = True,
    max_weight: float | None = None,
    power: float | Tensor = 1.0,
    normalize: str | None = None,
    avg_factor: float | Tensor | None = None,
    scale_by_weight: bool = False,
    density: str = "region",
    sync: bool = False,
    reduction: str = "mean",
    backend: str | None = None,
) -> Tensor:
    r"""Authentic smooth L1 with every element divided by the density of its gradient norm.

    .. math::
        d_i = pred_i - target_i, \quad g_i = \frac{|d_i|}{\sqrt{d_i^2 + \mu^2}}, \quad
        \beta_i = \frac{N}{R_{ind(g_i)}\, n}, \quad L = \frac{1}{N} \sum_i \beta_i\, ASL1(d_i)

    with :math:`R_j` the number of valid elements in unit region j, n the number of regions that are not empty, and N
    the sum of ``weight`` over all elements, at least 1. With ``normalize="avg_factor"`` the weights, after their bound
    and power, are scaled to a mean of 1 over the elements that count, and the sum is divided by ``avg_factor`` in place
    of N.

    Args:
        pred: floating point, shape (N, 4), or any (..., C); half and bfloat16 are computed in float32.
        target: real, the shape of ``pred``.
        weight: shape (N,), (N, 1), that of ``pred`` or flat. An element counts where it is above 0; its size only
            enters N. ``None`` counts all elements with 1.
        mu: of ASL1, above 0; a tensor of one number is read without a host sync, and its value not checked.
        bins: number of unit regions M, at least 1.
        normalize: ``None`` or ``"avg_factor"``.
        avg_factor: used with ``normalize`` alone, above 0; ``None`` takes the number of elements that count.
        reduction: ``"mean"`` for L, ``"sum"`` for L without its divisor, ``"none"`` for the :math:`\beta_i\, ASL1` of
            each element.

    The other arguments are those of :func:`ghm_c_loss`, with GHM-R and ASL1 in the place of GHM-C and cross-entropy.

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
    checks.check_prediction("pred", pred)
    checks.check_dense_target(target, pred, "pred")
    if not isinstance(mu, Tensor):
        checks.check_positive("mu", mu)
    weighting = Weighting(
        bins, momentum, acc_sum, acc_norm, average, update_average, max_weight, power, normalize, avg_factor,
        scale_by_weight, density, sync, reduction, backend,
    )  # fmt: skip
    weighting.check(pred, (None, "avg_factor"))
    weight = checks.rows_of_weight(weight, pred)

    rows, rows_of_target = as_rows(pred), as_rows(target)
    dtype = torch.promote_types(pred.dtype, torch.float32)
    sum_of_weight = None if weight is None else weight.expand(rows.shape).sum(dtype=dtype)
    if isinstance(mu, Tensor):
        # ASL1(d; mu) = mu ASL1(d / mu; 1), and the gradient norms of the two are equal.
        unit = mu.to(dtype)
        rows, rows_of_target = rows / unit, rows_of_target / unit
        loss = unit * harmonized_loss("asl1", rows, rows_of_target, weight, weighting, 1.0, sum_of_weight)
    else:
        loss = harmonized_loss("asl1", rows, rows_of_target, weight, weighting, mu, sum_of_weight)
    return loss.view(pred.shape) if reduction == "none" else loss
