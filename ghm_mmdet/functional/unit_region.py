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

    Example:
        >>> unit_region(torch.tensor([0.0, 0.34, 1.0]), bins=3)
        tensor([0, 1, 2])

    Source: GHM paper (Li, Liu and Wang, AAAI 2019, arXiv:1811.05181), section "Unit Region Approximation".
    """
    return region_of_valid(gradient_norm, bins, None).long()


def region_of_valid(gradient_norm: Tensor, bins: int, valid: Tensor | None) -> Tensor:
    """Unit region of each valid element and ``bins`` for the others, as whole numbers in the dtype of the norm.

    ``valid`` is bool and broadcasts against ``gradient_norm``; ``None`` means all.
    """
    # All in floating point, and the comparison too: a CPU does these several at a time, but not integers or bools.
    region = (gradient_norm * (bins * (1 + _SURPLUS))).floor_()
    region -= torch.lt(gradient_norm, region / bins, out=torch.empty_like(region))
    region = region.nan_to_num_(nan=0.0).clamp_(max=bins - 1)
    if valid is None:
        return region
    return torch.maximum(region, torch.where(valid, 0.0, bins).to(region.dtype))


def region_count(region: Tensor, bins: int) -> Tensor:
    """Number of elements in each unit region, R_j.

    Args:
        region: whole numbers of any dtype, any shape; the values 0 to ``bins`` - 1 count, the value ``bins`` marks an
            element that is left out.
        bins: number of regions.

    Returns:
        The counts, int64, shape (bins,).

    Example:
        >>> region_count(torch.tensor([0, 2, 2, 3]), bins=3)
        tensor([1, 0, 2])
    """
    return region_count_and_sum(region, bins)[0]


def region_count_and_sum(region: Tensor, bins: int, value: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """As :func:`region_count`, and with it the sum of ``value``, of the shape of ``region``, in each region."""
    if torch.compiler.is_compiling() and value is None:
        # In the shape that the region was computed in, the compiler counts in the same loop.
        count = torch.zeros(bins + 1, dtype=torch.int32, device=region.device)
        one = torch.ones((), dtype=torch.int32, device=region.device)
        return count.index_put_((region.long(),), one, accumulate=True)[:bins], None
    # Many short rows instead of one long one: they run in parallel, a sum in float32 stays exact enough, and on a GPU
    # they do not queue for the same few counters.
    rows = 1024
    index = region.flatten().long()
    missing = -index.numel() % rows
    if missing:
        index = F.pad(index, (0, missing), value=bins)
    index = index.view(rows, -1)
    one = torch.ones((), dtype=torch.int32, device=region.device)
    zeros = torch.zeros(rows, bins + 1, dtype=torch.int32, device=region.device)
    count = zeros.scatter_add_(1, index, one.expand_as(index)).sum(0)[:bins]
    if value is None:
        return count, None
    value = value.flatten()
    if missing:
        value = F.pad(value, (0, missing))
    zeros = torch.zeros(rows, bins + 1, dtype=value.dtype, device=region.device)
    return count, zeros.scatter_add_(1, index, value.view(rows, -1)).sum(0)[:bins]
