"""The harmonizing weight of each unit region."""

from __future__ import annotations

import torch
from torch import Tensor


def harmonizing_weight(
    count: Tensor,
    total: Tensor,
    *,
    momentum: float = 0.0,
    acc_sum: Tensor | None = None,
    acc_norm: Tensor | None = None,
    max_weight: float | None = None,
) -> Tensor:
    """Harmonizing weight of the elements in each unit region.

    With R_j the count of region j, n the number of regions that are not empty and N the total::

        beta_j = N / (R_j n)

    and with ``momentum`` a the density comes from a moving average S over the calls, in which only the regions that
    are not empty move::

        S_j <- a S_j + (1 - a) R_j,    beta_j = N / (S_j n)

    S starts at 0, so that the first weights are 1 / (1 - a) times too large. ``acc_norm`` repairs that: it runs the
    same moving average over the constant 1, and S_j / acc_norm_j takes the place of S_j.

    Args:
        count: R_j, integer or floating point, shape (bins,).
        total: N, the number of valid elements (GHM-C) or the sum of their weights (GHM-R), floating point, a scalar of
            at least 1; its dtype is the result's.
        momentum: a in [0, 1).
        acc_sum: S, floating point, shape (bins,), updated in place; needed when ``momentum`` is above 0.
        acc_norm: floating point, shape (bins,), updated in place; ``None`` leaves the start as it is.
        max_weight: upper bound of beta.

    Returns:
        beta, shape (bins,), 0 for an empty region.

    Raises:
        ValueError: ``momentum`` is above 0 and there is no ``acc_sum``.

    Example:
        >>> harmonizing_weight(torch.tensor([8, 0, 2]), torch.tensor(10.0))
        tensor([0.6250, 0.0000, 2.5000])

    Source: GHM paper (arXiv:1811.05181), sections "GHM-C Loss" and "Unit Region Approximation"; that n counts the
    regions that are not empty, where the paper has M, is what the authors' release does.
    """
    count = count.to(total.dtype)
    filled = count > 0
    density = count
    if momentum > 0:
        if acc_sum is None:
            raise ValueError("acc_sum must be the moving average, shape (bins,), where momentum is above 0, got None")
        acc_sum.copy_(torch.where(filled, momentum * acc_sum + (1 - momentum) * count, acc_sum))
        density = acc_sum.to(total.dtype)
        if acc_norm is not None:
            acc_norm.copy_(torch.where(filled, momentum * acc_norm + (1 - momentum), acc_norm))
            density = density / acc_norm
    weight = torch.where(filled, total / (density * filled.sum()), 0.0)
    return weight if max_weight is None else weight.clamp(max=max_weight)
