"""The scale of the differences that a regression loss sees."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor

from . import checks
from .harmonized_loss import as_rows


def mean_difference(pred: Tensor, target: Tensor, weight: Tensor | None = None, sync: bool = False) -> Tensor:
    """Mean of abs(pred - target) over the elements that count, 0 where none does.

    Args:
        pred, target, weight: as :func:`ghm_mmdet.functional.ghm_r_loss` takes them.
        sync: whether the elements of all ranks count; every rank must then call this.

    Returns:
        A scalar, float32, without gradient.

    Raises:
        ValueError: shapes, dtypes or devices do not fit together.

    Example:
        >>> mean_difference(torch.tensor([1.0, -3.0, 9.0]), torch.zeros(3), torch.tensor([1.0, 1.0, 0.0]))
        tensor(2.)
    """
    checks.check_prediction("pred", pred)
    checks.check_dense_target(target, pred, "pred")
    weight = checks.rows_of_weight(weight, pred)
    size = as_rows((pred.detach().double() - target.double()).abs())
    counted = torch.ones_like(size, dtype=torch.bool) if weight is None else (weight > 0).expand(size.shape)
    sums = torch.stack([torch.where(counted, size, 0).sum(), counted.sum()])
    if sync and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(sums)
    return (sums[0] / sums[1].clamp(min=1)).float()
