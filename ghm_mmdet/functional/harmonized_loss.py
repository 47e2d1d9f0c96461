"""A loss whose elements are reweighted by the density of their gradient norms, in two passes and with no host sync.

The weight of an element depends on how many others share its unit region, so a first pass only counts and a second
computes loss and gradient together. Both go through the data in pieces that stay in the processor's cache, and nothing
but the gradient itself is ever as large as the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ghm_mmdet.functional.unit_region import region_count, unit_region

# Elements in one piece: on a CPU what fits its second-level cache, on a GPU enough to keep it busy.
_PIECE = {"cpu": 2**18}
_PIECE_ELSEWHERE = 2**23


class Term(Protocol):
    """The loss of one element before harmonizing, as a function of prediction and target."""

    def gradient_norm(self, pred: Tensor, target: Tensor) -> Tensor:
        """Gradient norm g >= 0 of each element, the shape of ``pred``; a new tensor."""

    def loss_and_derivative(self, pred: Tensor, target: Tensor, gradient_norm: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each element and its derivative with respect to ``pred``; may overwrite ``gradient_norm``."""


def as_rows(value: Tensor) -> Tensor:
    """Any shape (..., C) as (N, C), and (N,) as (N, 1)."""
    return value.flatten(end_dim=-2) if value.dim() > 1 else value.unsqueeze(1)


class Samples(NamedTuple):
    """What the two passes go through, with the samples along the first dimension.

    pred: floating point, shape (N, C).
    target: shape (N,) or (N, C), as the term expects it.
    valid: bool, shape (N, 1) or (N, C), or ``None`` where all elements are.
    """

    pred: Tensor
    target: Tensor
    valid: Tensor | None

    def pieces(self) -> Iterator[tuple[slice, Samples]]:
        """Slices of the first dimension, each with the samples in it, the prediction in at least float32."""
        if self.pred.numel() == 0:
            return
        dtype = torch.promote_types(self.pred.dtype, torch.float32)
        step = _PIECE.get(self.pred.device.type, _PIECE_ELSEWHERE) // max(1, self.pred.shape[1]) or 1
        for start in range(0, self.pred.shape[0], step):
            part = slice(start, start + step)
            valid = None if self.valid is None else self.valid[part]
            yield part, Samples(self.pred[part].to(dtype), self.target[part], valid)

    def region(self, gradient_norm: Tensor, bins: int) -> Tensor:
        """Unit region of each element; ``bins``, which no region has, for an element that is not valid."""
        region = unit_region(gradient_norm, bins)
        return region if self.valid is None else torch.where(self.valid, region, bins)


def density_count(samples: Samples, term: Term, bins: int) -> Tensor:
    """First pass: the number of valid elements in each unit region, int64, shape (bins,)."""
    with torch.no_grad():
        count = torch.zeros(bins, dtype=torch.int64, device=samples.pred.device)
        for _, piece in samples.pieces():
            count += region_count(piece.region(term.gradient_norm(piece.pred, piece.target), bins), bins)
    return count


class HarmonizedLoss(torch.autograd.Function):
    """Second pass: sum_i beta_i loss_i as a scalar, or each beta_i loss_i; beta is a constant of the gradient."""

    @staticmethod
    def forward(ctx, pred: Tensor, samples: Samples, term: Term, region_weight: Tensor, reduce: bool) -> Tensor:
        """Compute the loss and, where it will be asked for, the gradient.

        ``pred`` is ``samples.pred``, once more as an argument of its own, which is what autograd looks at;
        ``region_weight`` is beta of each unit region, in the dtype that the loss is computed in.
        """
        bins, dtype = region_weight.shape[0], region_weight.dtype
        region_weight = torch.cat([region_weight, region_weight.new_zeros(1)])
        derivative = torch.empty_like(pred, dtype=dtype) if ctx.needs_input_grad[0] else None
        result = torch.zeros((), dtype=dtype, device=pred.device) if reduce else torch.empty_like(pred, dtype=dtype)
        for part, piece in samples.pieces():
            gradient_norm = term.gradient_norm(piece.pred, piece.target)
            region = piece.region(gradient_norm, bins)
            beta = region_weight.index_select(0, region.flatten()).view_as(region)
            loss, slope = term.loss_and_derivative(piece.pred, piece.target, gradient_norm)
            loss *= beta
            slope *= beta
            if piece.valid is not None:
                # A weight of 0 does not silence the infinity or NaN of an element that is to be ignored.
                loss.masked_fill_(~piece.valid, 0)
                slope.masked_fill_(~piece.valid, 0)
            if reduce:
                result += loss.sum()
            else:
                result[part] = loss
            if derivative is not None:
                derivative[part] = slope
        ctx.save_for_backward(derivative)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor):
        (derivative,) = ctx.saved_tensors
        return derivative * grad_output, None, None, None, None
