"""How many elements have which gradient norm, and what gradient a loss gives them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ghm_mmdet.functional.harmonized_loss import Samples
from ghm_mmdet.functional.unit_region import region_count_and_sum, region_of_valid


def gradient_histogram(
    samples: Samples, gradient: Tensor, norm: Callable[[Tensor, Tensor], Tensor], bins: int, *, per_sample: bool = False
) -> Tensor:
    """Count the elements in each unit region of the gradient norm, and sum their gradients.

    The samples are gone through in pieces, and without a host sync.

    Args:
        samples: predictions, targets and which of them count.
        gradient: of a loss with respect to the predictions, shape (N, C).
        norm: the gradient norm of predictions and targets, one of :mod:`ghm_mmdet.functional.gradient_norm`.
        bins: number of unit regions.
        per_sample: whether an element is a whole sample, as with a softmax; the size of its gradient is then half the
            L1 norm, as that of its gradient norm.

    Returns:
        float64, shape (3, bins): the number of elements, the sum of their gradient norms, and the sum of the sizes of
        their gradients.
    """
    sums = torch.zeros(3, bins, dtype=torch.float64, device=samples.pred.device)
    for part in samples.parts():
        piece = samples.piece(part)
        size = gradient[part].to(samples.dtype).abs()
        if per_sample:
            size = size.sum(1, keepdim=True) / 2
        norm_of_piece = norm(piece.pred, piece.target)
        region = region_of_valid(norm_of_piece, bins, piece.valid)
        count, sum_of_norm = region_count_and_sum(region, bins, norm_of_piece)
        sums += torch.stack([count, sum_of_norm, region_count_and_sum(region, bins, size)[1]])
    return sums
