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
    average: str = "counts",
    update_average: bool = True,
    max_weight: float | None = None,
    power: float | Tensor = 1.0,
) -> Tensor:
    """Harmonizing weight of the elements in each unit region.

    With R_j the count of region j, n the number of regions that are not empty and N the total::

        beta_j = N / (R_j n)

    and with ``momentum`` a the density comes from a moving average S over the calls, in which only the regions that
    are not empty move::

        S_j <- a S_j + (1 - a) R_j,    beta_j = N / (S_j n)

    S starts at 0, so that the first weights are 1 / (1 - a) times too large. ``acc_norm`` repairs that: it runs the
    same moving average over the constant 1, and S_j / acc_norm_j takes the place of S_j.

    Calls of different size, such as the levels of a feature pyramid, do not fit into one average of counts. With
    ``average="shares"`` it is one of shares, S_j <- a S_j + (1 - a) R_j / N and beta_j = 1 / (S_j n).

    Args:
        count: R_j, integer or floating point, shape (bins,).
        total: N, the number of valid elements (GHM-C) or the sum of their weights (GHM-R), floating point, a scalar of
            at least 1; its dtype is the result's where the counts are integers.
        momentum: a in [0, 1).
        acc_sum: S, floating point, shape (bins,), updated in place; needed when ``momentum`` is above 0.
        acc_norm: floating point, shape (bins,), updated in place; ``None`` leaves the start as it is.
        average: ``"counts"`` or ``"shares"``, what ``acc_sum`` is an average of.
        update_average: whether the call is to move ``acc_sum`` and ``acc_norm``; its weights are the same if not.
        max_weight: upper bound of beta.
        power: of beta, after the bound: 1 for the weights as they are, 0 for none.

    Returns:
        beta, shape (bins,), 0 for an empty region.

    Raises:
        ValueError: ``momentum`` is above 0 and there is no ``acc_sum``.

    Example:
        >>> harmonizing_weight(torch.tensor([8, 0, 2]), torch.tensor(10.0))
        tensor([0.6250, 0.0000, 2.5000])

    Source: GHM paper (arXiv:1811.05181), sections "GHM-C Loss" and "Unit Region Approximation"; that n counts the
    regions that are not empty, where the paper has M, is what the authors' release does. Shares and power are ours.
    """
    # Few operators, and cheap ones: each costs the same for so few numbers, and together they are most of a call on
    # little input.
    count = count if count.is_floating_point() else count.to(total.dtype)
    empty = count.logical_not()
    density = count
    if momentum > 0:
        if acc_sum is None:
            raise ValueError("acc_sum must be the moving average, shape (bins,), where momentum is above 0, got None")

        def moved(average: Tensor, value: Tensor) -> Tensor:
            new = torch.where(empty, average, torch.add(momentum * average, value, alpha=1 - momentum))
            return (average if update_average else average.clone()).copy_(new).to(count.dtype)

        density = moved(acc_sum, count / total) * total if average == "shares" else moved(acc_sum, count)
        if acc_norm is not None:
            density = density / moved(acc_norm, torch.ones_like(count))
    weight = bounded(total / (density * count.count_nonzero()), max_weight, power)
    return weight.masked_fill(empty, 0.0)


def bounded(weight: Tensor, max_weight: float | None, power: float | Tensor) -> Tensor:
    """The weights with their upper bound, and to a power."""
    if max_weight is not None:
        weight = weight.clamp(max=max_weight)
    return weight if isinstance(power, float) and power == 1.0 else weight**power


def normalizing_factor(weight: Tensor, count: Tensor, positive: Tensor, normalize: str) -> Tensor:
    r"""What the weights are to be multiplied by.

    .. math::
        \frac{\sum_j R_j}{\sum_j \beta_j R_j}\ \text{("avg_factor")}, \qquad
        \frac{\sum_j P_j}{\sum_j \beta_j P_j}\ \text{("positives")}

    so that their mean over all elements, or over the positives, is 1. Without a positive it is the first, and at most
    1.

    Args:
        weight: beta, shape (bins,), or one for each element.
        count: R, how many elements have it.
        positive: P, how many positives have it.
        normalize: ``"avg_factor"`` or ``"positives"``.
    """

    def over(number: Tensor, all_of_it: Tensor) -> Tensor:
        return all_of_it / (weight * number).sum().clamp(min=torch.finfo(weight.dtype).tiny)

    elements = over(count, count.sum())
    if normalize == "avg_factor":
        return elements
    positives = positive.sum()
    return torch.where(positives > 0, over(positive, positives), elements.clamp(max=1))
