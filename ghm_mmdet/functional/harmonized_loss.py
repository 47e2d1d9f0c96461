"""A loss whose elements are reweighted by the density of their gradient norms, with no host sync.

One pass takes the derivative and counts, region by region, which gives the weights; a second gives the value and turns
the derivatives into the gradient. Both go through the data in pieces that stay in the processor's cache, and nothing
but the gradient is as large as the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ghm_mmdet.functional.density import Density
from ghm_mmdet.functional.exact_density import exact_gradient_density
from ghm_mmdet.functional.unit_region import region_count, region_of_valid, smallest_integer

# Elements in one piece: on a CPU what fits its second-level cache, on a GPU enough to keep it busy.
_PIECE = {"cpu": 2**18}
_PIECE_ELSEWHERE = 2**23


class Term(Protocol):
    """The loss of one element before harmonizing; an element is a number of the prediction, or a whole sample."""

    per_sample: bool

    def derivative(self, pred: Tensor, target: Tensor) -> Tensor:
        """Derivative of the loss with respect to ``pred``, shape (N, C); a new tensor."""

    def loss(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of each element, shape (N, C), or (N, 1) per sample; a new tensor."""


def gradient_norm(term: Term, derivative: Tensor) -> Tensor:
    """Gradient norm g in [0, 1] of each element: the size of its derivative, of a sample half the L1 norm."""
    size = derivative.abs()
    return size.sum(1, keepdim=True) / 2 if term.per_sample else size


class Samples(NamedTuple):
    """What the passes go through, with the samples along the first dimension.

    pred: floating point, shape (N, C).
    target: shape (N,) or (N, C), as the term expects it.
    valid: bool, shape (N, 1) or (N, C), or ``None`` where all elements are.
    """

    pred: Tensor
    target: Tensor
    valid: Tensor | None

    @property
    def dtype(self) -> torch.dtype:
        """What the loss is computed in."""
        return torch.promote_types(self.pred.dtype, torch.float32)

    @property
    def step(self) -> int:
        """Number of samples in one piece."""
        size = _PIECE.get(self.pred.device.type, _PIECE_ELSEWHERE)
        # A multiple of 1,024 samples makes whole rows in the count.
        return size // max(1, self.pred.shape[1]) // 1024 * 1024 or 1024

    def parts(self) -> Iterator[slice]:
        """Slices of the first dimension, one for each piece."""
        if torch.compiler.is_compiling():
            # The compiler fuses the operations itself, and needs one graph for any number of samples.
            yield slice(None)
            return
        for start in range(0, self.pred.shape[0] if self.pred.numel() else 0, self.step):
            yield slice(start, start + self.step)

    def piece(self, part: slice) -> Samples:
        """The samples in a slice, the prediction in the dtype of the loss.

        A prediction to be ignored becomes 0, since no weight of 0 would silence an infinity or NaN.
        """
        pred = self.pred[part].to(self.dtype)
        if self.valid is None:
            return Samples(pred, self.target[part], None)
        valid = self.valid[part]
        if torch.compiler.is_compiling():
            return Samples(torch.where(valid, pred, 0.0), self.target[part], valid)
        # The same by the bits, several times faster on a CPU.
        integer = torch.int64 if pred.dtype == torch.float64 else torch.int32
        bits = pred.view(integer) & -valid.to(integer)
        return Samples(bits.view(pred.dtype), self.target[part], valid)


class _RegionWeights:
    """Harmonizing weights looked up by unit region."""

    def __init__(self, shape: torch.Size, samples: Samples, density: Density):
        self.density, self.dtype = density, samples.dtype
        self.count = torch.zeros(density.bins, dtype=torch.int64, device=samples.pred.device)
        self.region = torch.empty(shape, dtype=smallest_integer(density.bins), device=samples.pred.device)

    def add(self, part: slice, norm: Tensor, valid: Tensor | None) -> None:
        """Count the gradient norms of one piece."""
        region = region_of_valid(norm, self.density.bins, valid)
        self.count += region_count(region, self.density.bins)
        if torch.compiler.is_compiling():
            self.region = region
        else:
            self.region[part] = region

    def finish(self, valid: Tensor | None, sum_of_weight: Tensor | None) -> Tensor:
        """Make the weights, after the last piece; N."""
        total = self.count.sum() if sum_of_weight is None else sum_of_weight
        count, total = self.density.over_ranks(self.count, total)
        total = total.clamp(min=1).to(self.dtype)
        weight = self.density.region_weight(count, total)
        self.table = torch.cat([weight, weight.new_zeros(1)])
        return total

    def of(self, part: slice) -> Tensor:
        """Harmonizing weight of each element in a piece."""
        region = self.region[part].long()
        return self.table.expand(region.shape[0], -1).gather(1, region)


class _ExactWeights:
    """Harmonizing weights from each element's own window."""

    def __init__(self, shape: torch.Size, samples: Samples, density: Density):
        self.density = density
        self.norm = torch.empty(shape, dtype=samples.dtype, device=samples.pred.device)

    def add(self, part: slice, norm: Tensor, valid: Tensor | None) -> None:
        """Collect the gradient norms of one piece."""
        if torch.compiler.is_compiling():
            self.norm = norm
        else:
            self.norm[part] = norm

    def finish(self, valid: Tensor | None, sum_of_weight: Tensor | None) -> Tensor:
        """Make the weights, after the last piece; N."""
        norm, self.norm = self.norm, None
        valid = None if valid is None else valid.expand_as(norm)
        total = sum_of_weight
        if total is None:
            total = valid.sum() if valid is not None else torch.full((), norm.numel(), device=norm.device)
        total = total.clamp(min=1).to(norm.dtype)
        weight = total / exact_gradient_density(norm, 1 / self.density.bins, valid)
        if self.density.max_weight is not None:
            weight = weight.clamp(max=self.density.max_weight)
        self.weight = weight if valid is None else weight.masked_fill(~valid, 0)
        return total

    def of(self, part: slice) -> Tensor:
        """Harmonizing weight of each element in a piece."""
        return self.weight[part]


Weights = _RegionWeights | _ExactWeights


class _HarmonizedLoss(torch.autograd.Function):
    """Gives ``value``, the loss computed without autograd, its gradient with respect to ``pred``; beta is constant."""

    @staticmethod
    def forward(ctx, pred: Tensor, value: Tensor, gradient: Tensor, samples: Samples, term: Term, weights: Weights):
        ctx.save_for_backward(pred, samples.target, samples.valid)
        ctx.gradient, ctx.term, ctx.weights = gradient, term, weights
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor):
        samples = Samples(*ctx.saved_tensors)
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            # The first way through a graph that is retained has scaled the gradient in place, to save a copy.
            gradient = torch.empty_like(samples.pred, dtype=samples.dtype)
            for part in samples.parts():
                piece = samples.piece(part)
                gradient[part] = ctx.term.derivative(piece.pred, piece.target) * ctx.weights.of(part)
        return gradient.mul_(grad_output), None, None, None, None, None


def _traced_loss(samples: Samples, term: Term, weights: Weights, reduce: bool, sum_of_weight: Tensor | None):
    """The loss as an expression that a compiler differentiates and fuses, and N."""
    everything = slice(None)
    piece = samples.piece(everything)
    with torch.no_grad():
        norm = gradient_norm(term, term.derivative(piece.pred, piece.target))
        weights.add(everything, norm, piece.valid)
        total = weights.finish(piece.valid, sum_of_weight)
    loss = term.loss(piece.pred, piece.target) * weights.of(everything)
    return loss.sum() if reduce else loss, total


def _computed_loss(samples: Samples, term: Term, weights: Weights, reduce: bool, sum_of_weight: Tensor | None):
    """The loss with its gradient, piece by piece, and N."""
    constant = samples._replace(pred=samples.pred.detach())
    with torch.no_grad():
        gradient = torch.empty_like(constant.pred, dtype=samples.dtype)
        for part in samples.parts():
            piece = constant.piece(part)
            derivative = term.derivative(piece.pred, piece.target)
            weights.add(part, gradient_norm(term, derivative), piece.valid)
            gradient[part] = derivative
        total = weights.finish(samples.valid, sum_of_weight)
        shape = () if reduce else (gradient.shape[0], 1) if term.per_sample else gradient.shape
        value = gradient.new_zeros(shape)
        for part in samples.parts():
            piece = constant.piece(part)
            beta = weights.of(part)
            loss = term.loss(piece.pred, piece.target).mul_(beta)
            if reduce:
                value += loss.sum()
            else:
                value[part] = loss
            gradient[part].mul_(beta)
    return _HarmonizedLoss.apply(samples.pred, value, gradient, constant, term, weights), total


def harmonized_loss(
    samples: Samples, term: Term, density: Density, reduction: str, sum_of_weight: Tensor | None = None
) -> Tensor:
    """Reweight the elements of a loss by the density of their gradient norms.

    Args:
        samples: predictions, targets and which of them count.
        term: the loss of one element.
        density: where the weights come from, checked.
        reduction: ``"mean"``, the sum over N; ``"sum"``; or ``"none"``, each element, shape (N, C) or (N, 1).
        sum_of_weight: N where it is not the number of valid elements.

    Returns:
        The loss. Of several ranks (``density.sync``) "mean" and "sum" are such that their average over the ranks is
        the loss of all samples together, which makes DistributedDataParallel's averaged gradient that of one process.
    """
    shape = torch.Size((samples.pred.shape[0], 1)) if term.per_sample else samples.pred.shape
    weights = (_ExactWeights if density.kind == "exact" else _RegionWeights)(shape, samples, density)
    compute = _traced_loss if torch.compiler.is_compiling() else _computed_loss
    loss, total = compute(samples, term, weights, reduction != "none", sum_of_weight)
    if reduction == "none":
        return loss
    loss = loss / total if reduction == "mean" else loss
    return loss if density.ranks == 1 else loss * density.ranks


def as_rows(value: Tensor) -> Tensor:
    """Any shape (..., C) as (N, C), and (N,) as (N, 1)."""
    return value.flatten(end_dim=-2) if value.dim() > 1 else value.unsqueeze(1)
