"""A loss whose elements are reweighted by the density of their gradient norms, with no host sync.

The weight of an element depends on how many others share its unit region, but all in one region weigh the same: one
pass that counts, and sums the loss, region by region gives the value, and one more the gradient. Both go through the
data in pieces that stay in the processor's cache, and nothing but the gradient itself is ever as large as the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ghm_mmdet.functional.density import Density
from ghm_mmdet.functional.exact_density import exact_gradient_density
from ghm_mmdet.functional.unit_region import region_count_and_sum, region_of_valid

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
        # A multiple of 1,024 samples makes whole rows in the count.
        size = _PIECE.get(self.pred.device.type, _PIECE_ELSEWHERE)
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
        return Samples(torch.where(valid, pred, 0.0), self.target[part], valid)


class _RegionWeights:
    """Harmonizing weights looked up by unit region."""

    def __init__(self, samples: Samples, term: Term, density: Density, sum_of_weight: Tensor | None, sum_loss: bool):
        bins, device = density.bins, samples.pred.device
        count = torch.zeros(bins, dtype=torch.int64, device=device)
        loss = torch.zeros(bins, dtype=samples.dtype, device=device)
        self.kept = None
        for part in samples.parts():
            piece = samples.piece(part)
            derivative = term.derivative(piece.pred, piece.target)
            region = region_of_valid(gradient_norm(term, derivative), bins, piece.valid)
            if not torch.compiler.is_compiling() and samples.pred.shape[0] <= samples.step:
                # All in one piece is little enough to keep for the backward pass.
                self.kept = derivative, region
            value = term.loss(piece.pred, piece.target) if sum_loss else None
            count_of_piece, loss_of_piece = region_count_and_sum(region, bins, value)
            count += count_of_piece
            if sum_loss:
                loss += loss_of_piece
        total = count.sum() if sum_of_weight is None else sum_of_weight
        count, total = density.over_ranks(count, total)
        self.total = total.clamp(min=1).to(samples.dtype)
        weight = density.region_weight(count, self.total)
        self.sum_of_loss = (weight * loss).sum()
        self.table = torch.cat([weight, weight.new_zeros(1)])

    def weigh(self, samples: Samples, part: slice, term: Term) -> tuple[Tensor, Tensor]:
        """Derivative and harmonizing weight of each element in a piece."""
        if self.kept is not None:
            derivative, region = self.kept
        else:
            piece = samples.piece(part)
            derivative = term.derivative(piece.pred, piece.target)
            region = region_of_valid(gradient_norm(term, derivative), self.table.shape[0] - 1, piece.valid)
        if torch.compiler.is_compiling():
            return derivative, self.table[region.long()]
        # Faster than indexing, which copies the index.
        return derivative, self.table.index_select(0, region.flatten().int()).view_as(region)


class _ExactWeights:
    """Harmonizing weights from each element's own window."""

    def __init__(self, samples: Samples, term: Term, density: Density, sum_of_weight: Tensor | None, sum_loss: bool):
        pieces = [samples.piece(part) for part in samples.parts()]
        norms = [gradient_norm(term, term.derivative(piece.pred, piece.target)) for piece in pieces]
        norm = torch.cat(norms) if norms else samples.pred.new_zeros(samples.pred.shape, dtype=samples.dtype)
        valid = None if samples.valid is None else samples.valid.expand_as(norm)
        total = sum_of_weight
        if total is None:
            total = valid.sum() if valid is not None else torch.full((), norm.numel(), device=norm.device)
        self.total = total.clamp(min=1).to(samples.dtype)
        weight = self.total / exact_gradient_density(norm, 1 / density.bins, valid)
        if density.max_weight is not None:
            weight = weight.clamp(max=density.max_weight)
        self.weight = weight if valid is None else weight.masked_fill(~valid, 0)
        self.sum_of_loss = torch.zeros((), dtype=samples.dtype, device=norm.device)
        if sum_loss:
            for part in samples.parts():
                piece = samples.piece(part)
                self.sum_of_loss += (term.loss(piece.pred, piece.target) * self.weight[part]).sum()

    def weigh(self, samples: Samples, part: slice, term: Term) -> tuple[Tensor, Tensor]:
        """Derivative and harmonizing weight of each element in a piece."""
        piece = samples.piece(part)
        return term.derivative(piece.pred, piece.target), self.weight[part]


Weights = _RegionWeights | _ExactWeights


def _elements(samples: Samples, term: Term, weights: Weights) -> Tensor:
    """Each beta_i loss_i, shape (N, C) or (N, 1)."""
    shape = (samples.pred.shape[0], 1) if term.per_sample else samples.pred.shape
    result = samples.pred.new_zeros(shape, dtype=samples.dtype)
    for part in samples.parts():
        _, beta = weights.weigh(samples, part, term)
        piece = samples.piece(part)
        result[part] = term.loss(piece.pred, piece.target).mul_(beta)
    return result


class _HarmonizedLoss(torch.autograd.Function):
    """Gives ``value``, the loss computed without autograd, its gradient with respect to ``pred``; beta is constant."""

    @staticmethod
    def forward(ctx, pred: Tensor, value: Tensor, samples: Samples, term: Term, weights: Weights) -> Tensor:
        ctx.save_for_backward(pred, samples.target, samples.valid)
        ctx.term, ctx.weights = term, weights
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor):
        samples = Samples(*ctx.saved_tensors)
        gradient = torch.empty_like(samples.pred, dtype=samples.dtype)
        for part in samples.parts():
            derivative, beta = ctx.weights.weigh(samples, part, ctx.term)
            beta = beta * (grad_output if grad_output.dim() == 0 else grad_output[part])
            torch.mul(derivative, beta, out=gradient[part])
        return gradient, None, None, None, None


def _traced_loss(samples: Samples, term: Term, weights: Weights, reduce: bool) -> Tensor:
    """The loss as an expression that a compiler differentiates and fuses."""
    with torch.no_grad():
        _, beta = weights.weigh(samples, slice(None), term)
    piece = samples.piece(slice(None))
    loss = term.loss(piece.pred, piece.target) * beta
    return loss.sum() if reduce else loss


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
    reduce = reduction != "none"
    traced = torch.compiler.is_compiling()
    with torch.no_grad():
        constant = samples._replace(pred=samples.pred.detach())
        kind = _ExactWeights if density.kind == "exact" else _RegionWeights
        weights = kind(constant, term, density, sum_of_weight, sum_loss=reduce and not traced)
        if not traced:
            value = weights.sum_of_loss if reduce else _elements(constant, term, weights)
    if traced:
        loss = _traced_loss(samples, term, weights, reduce)
    else:
        loss = _HarmonizedLoss.apply(samples.pred, value, constant, term, weights)
    if not reduce:
        return loss
    loss = loss / weights.total if reduction == "mean" else loss
    return loss if density.ranks == 1 else loss * density.ranks


def as_rows(value: Tensor) -> Tensor:
    """Any shape (..., C) as (N, C), and (N,) as (N, 1)."""
    return value.flatten(end_dim=-2) if value.dim() > 1 else value.unsqueeze(1)
