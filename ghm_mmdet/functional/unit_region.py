"""Unit regions: the axis of gradient norms cut into equal bins."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Relative surplus of the quotient that finds a bin: with it rounding can only put a value one bin too high, never too
# low, so that one comparison with the bin's lower edge repairs it.
_SURPLUS = 2.0**-21

# Rows that the count is made in: in parallel on a CPU, and on a GPU without queueing for the same few counters.
_ROWS = {"cpu": 16}
_ROWS_ELSEWHERE = 1024


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
    return numbered_region(gradient_norm, bins, None) - 1


def numbered_region(gradient_norm: Tensor, bins: int, mask: Tensor | None) -> Tensor:
    """Number of the unit region of each element, from 1 to ``bins``, and 0 where the element does not count.

    ``mask`` is an integer that broadcasts against ``gradient_norm``, all bits set where an element counts and none
    where not; ``None`` counts all.
    """
    # All in floating point, and the comparison too: a CPU does these several at a time, but not bools.
    region = torch.div(gradient_norm, 1 / (bins * (1 + _SURPLUS)), rounding_mode="trunc")
    lower_edge = region / bins
    region += torch.ge(gradient_norm, lower_edge, out=lower_edge)
    region = region.nan_to_num_(nan=1.0).clamp_(max=bins).int()
    if mask is not None:
        region &= mask
    return region.long()


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
    return count_regions(bins - region.long(), bins).flip(0)


def count_regions(region: Tensor, bins: int) -> Tensor:
    """As :func:`region_count` for int64 numbers from 1 to ``bins``, and 0 for what is left out."""
    one = torch.ones((), dtype=torch.int32, device=region.device)
    if torch.compiler.is_compiling():
        # In the shape that the region was computed in, the compiler counts in the same loop.
        count = torch.zeros(bins + 1, dtype=torch.int32, device=region.device)
        return count.index_put_((region,), one, accumulate=True)[1:]
    rows = _ROWS.get(region.device.type, _ROWS_ELSEWHERE)
    index = region.flatten()
    missing = -index.numel() % rows
    if missing:
        index = F.pad(index, (0, missing))
    index = index.view(rows, -1)
    count = torch.zeros(rows, bins + 1, dtype=torch.int32, device=region.device)
    return count.scatter_add_(1, index, one.expand_as(index)).sum(0)[1:]
