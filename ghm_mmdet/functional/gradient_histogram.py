"""How many elements have which gradient norm, and what gradient a loss gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .unit_region import region_count, unit_region

# Numbers of the prediction that are looked at together, which bounds the memory.
_PIECE = 2**20


class Elements(NamedTuple):
    """What a loss was called with, the samples along the first dimension.

    pred: floating point, shape (N, C).
    target: shape (N,) or (N, C).
    valid: which count; bool, shape (N, 1) or (N, C), or ``None`` where all do.
    """

    pred: Tensor
    target: Tensor
    valid: Tensor | None

    def parts(self) -> Iterator[slice]:
        """Slices of the first dimension, one for each piece."""
        step = max(1, _PIECE // max(1, self.pred.shape[1]))
        for start in range(0, self.pred.shape[0], step):
            yield slice(start, start + step)

    def piece(self, part: slice) -> Elements:
        """The samples in a slice, the prediction at least in float32."""
        pred = self.pred[part].to(torch.promote_types(self.pred.dtype, torch.float32))
        return Elements(pred, self.target[part], None if self.valid is None else self.valid[part])


def region_of_valid(gradient_norm: Tensor, bins: int, valid: Tensor | None) -> Tensor:
    """Unit region of each valid element and ``bins`` for the others, int64, the shape of ``gradient_norm``."""
    region = unit_region(gradient_norm, bins)
    return region if valid is None else torch.where(valid, region, bins)


def gradient_histogram(
    elements: Elements,
    gradient: Tensor,
    norm: Callable[[Tensor, Tensor], Tensor],
    bins: int,
    *,
    per_sample: bool = False,
) -> Tensor:
    """Count the elements in each unit region of the gradient norm, and sum their gradients.

    They are gone through in pieces, and without a host sync. What an element that does not count holds, be it infinite
    or NaN, has no effect.

    Args:
        elements: predictions, targets and which of them count.
        gradient: of a loss with respect to the predictions, shape (N, C).
        norm: the gradient norm of predictions and targets, one of :mod:`ghm_mmdet.functional.gradient_norm`.
        bins: number of unit regions.
        per_sample: whether an element is a whole sample, as with a softmax; the size of its gradient is then half the
            L1 norm, as that of its gradient norm.

    Returns:
        float64, shape (3, bins): the number of elements, the sum of their gradient norms, and the sum of the sizes of
        their gradients.
    """
    sums = torch.zeros(3, bins, dtype=torch.float64, device=elements.pred.device)
    for part in elements.parts():
        piece = elements.piece(part)
        size = gradient[part].double().abs()
        if per_sample:
            size = size.sum(1, keepdim=True) / 2
        norm_of_piece = norm(piece.pred, piece.target)
        region = region_of_valid(norm_of_piece, bins, piece.valid)
        values = torch.stack([norm_of_piece.double().flatten(), size.flatten()])
        of_piece = torch.zeros(2, bins + 1, dtype=torch.float64, device=sums.device)
        of_piece.scatter_add_(1, region.flatten().expand_as(values), values)
        sums[0] += region_count(region, bins)
        sums[1:] += of_piece[:, :bins]
    return sums
