"""Unit regions: the axis of gradient norms cut into equal bins."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Relative surplus of the factor that finds a bin: with it rounding can only put a value one bin too high, never too
# low, so that one comparison with the bin's lower edge repairs it.
_SURPLUS = 2.0**-22


def unit_region(gradient_norm: Tensor, bins: int) -> Tensor:
    """Index of the unit region that each gradient norm lies in.

    Region j is [j / M, (j + 1) / M) for M = ``bins``, the edges rounded to the dtype of ``gradient_norm``; the last
    region takes everything from its lower edge up, so that a gradient norm of 1 belongs to it.

    Args:
        gradient_norm: floating point, any shape, values of at least 0.
        bins: M, at least 1.

    Returns:
        The indices 0 to M - 1, int64, same shape. A NaN gets an index too, so that what it belongs to stays visible in
        the loss and no memory outside the table of regions is read.

    Source: GHM paper (Li, Liu and Wang, AAAI 2019, arXiv:1811.05181), section "Unit Region Approximation".
    """
    region = (gradient_norm * (bins * (1 + _SURPLUS))).floor_()
    region -= (gradient_norm < region / bins).to(region.dtype)
    return region.clamp_(max=bins - 1).long().clamp_(0, bins - 1)


def region_count(region: Tensor, bins: int) -> Tensor:
    """Number of elements in each unit region, R_j.

    Args:
        region: indices, int64, any shape; the values 0 to ``bins`` - 1 count, the value ``bins`` marks an element that
            is left out.
        bins: number of regions.

    Returns:
        The counts, int64, shape (bins,).
    """
    one = torch.ones((), dtype=torch.int32, device=region.device)
    return _add_up(region, one.expand_as(region), bins)


def region_sum(region: Tensor, value: Tensor, bins: int) -> Tensor:
    """Sum of the values in each unit region; ``region`` as for :func:`region_count`, ``value`` of the same shape."""
    return _add_up(region, value, bins)


def _add_up(region: Tensor, value: Tensor, bins: int) -> Tensor:
    # Many short rows instead of one long one: they run in parallel, a sum in float32 stays exact enough, and on a GPU
    # they do not queue for the same few counters. A compiled loop on a CPU has no queue either way.
    rows = 1 if torch.compiler.is_compiling() and region.device.type == "cpu" else 1024
    missing = -region.numel() % rows
    index = F.pad(region.flatten(), (0, missing), value=bins).view(rows, -1)
    value = F.pad(value.flatten(), (0, missing)).view(rows, -1)
    result = torch.zeros(rows, bins + 1, dtype=value.dtype, device=value.device)
    return result.scatter_add_(1, index, value).sum(0)[:bins]
