"""Unit regions: the axis of gradient norms cut into equal bins."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops import elements


def unit_region(gradient_norm: Tensor, bins: int) -> Tensor:
    """Index of the unit region that each gradient norm lies in.

    Region j is [j / M, (j + 1) / M) for M = ``bins``, the edges rounded to the dtype of the computation; the last
    region takes everything from its lower edge up, so that a gradient norm of 1 belongs to it.

    Args:
        gradient_norm: floating point, any shape, values of at least 0; half and bfloat16 are computed in float32.
        bins: M, at least 1.

    Returns:
        The indices 0 to M - 1, int64, same shape. A NaN gets an index too, so that what it belongs to stays visible in
        the loss and no memory outside the table of regions is read.

    Example:
        >>> unit_region(torch.tensor([0.0, 0.34, 1.0]), bins=3)
        tensor([0, 1, 2])

    Source: GHM paper (Li, Liu and Wang, AAAI 2019, arXiv:1811.05181), section "Unit Region Approximation".
    """
    norm = gradient_norm.to(torch.promote_types(gradient_norm.dtype, torch.float32))
    return elements.region_index(norm, bins)


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
    count = torch.zeros(bins + 1, dtype=torch.int64, device=region.device)
    return count.scatter_add_(0, region.flatten().long(), torch.ones_like(region, dtype=torch.int64).flatten())[:bins]
