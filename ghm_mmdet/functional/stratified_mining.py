"""Hard samples from strata of equal kind of loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from . import checks


def stratified_hard_samples(
    cls_loss: Tensor,
    loc_loss: Tensor,
    num: int,
    strata: Sequence[float] = (0.25, 0.25, 0.25, 0.25),
    cls_weight: float = 1.0,
    loc_weight: float = 1.0,
) -> Tensor:
    r"""The hardest samples of each stratum, where a stratum is a range of the share of the classification loss.

    .. math:: L_i = \alpha L^{cls}_i + \beta L^{loc}_i, \qquad s_i = \alpha L^{cls}_i / L_i

    With K strata sample i is in stratum floor(K s_i), the last for s_i = 1, as of all background. Stratum k gives its
    floor(num d_k) hardest samples by L, or all it has; places left over go to the hardest of all the others. Of equally
    hard samples the first is taken. With one stratum it is OHEM.

    Args:
        cls_loss: of each sample, at least 0, shape (N,).
        loc_loss: of each sample, at least 0, 0 for background, shape (N,).
        num: how many to choose, at least 0.
        strata: d, the parts of ``num`` of the strata from all localization to all classification, each at least 0, of
            sum 1.
        cls_weight: alpha, at least 0.
        loc_weight: beta, at least 0.

    Returns:
        The indices of the chosen samples, int64, at most (num,), in no order.

    Raises:
        ValueError: an argument is out of its range, or the shapes differ.

    Example:
        >>> cls, loc = torch.tensor([9.0, 8.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.5, 2.0])
        >>> stratified_hard_samples(cls, loc, 2, strata=(0.5, 0.5)).sort().values
        tensor([0, 2])

    Source: Li et al., "S-OHEM: Stratified Online Hard Example Mining for Object Detection" (2017, arXiv:1705.02233).
    """
    checks.check_prediction("cls_loss", cls_loss)
    if not isinstance(loc_loss, Tensor) or cls_loss.dim() != 1 or loc_loss.shape != cls_loss.shape:
        raise ValueError(
            "cls_loss and loc_loss must have one shape (N,), got "
            f"{checks.describe(cls_loss)} and {checks.describe(loc_loss)}"
        )
    check_strata(strata)
    checks.check_not_negative("cls_weight", cls_weight)
    checks.check_not_negative("loc_weight", loc_weight)
    classification = cls_weight * cls_loss
    loss = classification + loc_weight * loc_loss
    share = torch.where(loss > 0, classification / loss, 1.0)
    stratum = (share * len(strata)).long().clamp(max=len(strata) - 1)
    order = loss.argsort(descending=True, stable=True)
    # The small term keeps 100 times 0.29 from being 28.
    quotas = [math.floor(num * part + 1e-9) for part in strata]
    rank = torch.zeros_like(order)
    for k in range(len(quotas)):
        in_stratum = stratum[order] == k
        rank[in_stratum] = torch.arange(int(in_stratum.sum()), device=order.device)
    first = rank < torch.tensor(quotas, device=order.device)[stratum[order]]
    return torch.cat((order[first], order[~first]))[:num]


def check_strata(strata: Sequence[float]) -> None:
    """Raises ValueError unless these are parts of a whole."""
    for part in strata:
        checks.check_fraction("a part of strata", part)
    if not math.isclose(sum(strata), 1.0, abs_tol=1e-6):
        raise ValueError(f"the parts of strata must have the sum 1, got {tuple(strata)!r}")
