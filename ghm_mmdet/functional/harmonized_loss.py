"""A loss whose elements are reweighted by the density of their gradient norms, with no host sync.

One pass over the data counts, region by region, which gives the weights; a second sums the weighted loss; a third, in
the backward direction, makes the gradient. They go through the data in pieces that stay in the processor's cache, and
between them remember no more than one small integer for each element. Little data is one piece, done in one go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ghm_mmdet.functional.density import Density
from ghm_mmdet.functional.exact_density import masked_gradient_density
from ghm_mmdet.functional.unit_region import count_regions, numbered_region

# Elements in one piece: on a CPU what fits its second-level cache, on a GPU enough to keep it busy.
_PIECE = {"cpu": 2**18}
_PIECE_ELSEWHERE = 2**23


class Term:
    """The loss of one element before harmonizing; an element is a number of the prediction, or a whole sample."""

    per_sample: bool

    def derivative(self, pred: Tensor, *targets: Tensor) -> Tensor:
        """Derivative of the loss with respect to ``pred``, shape (N, C); a new tensor."""
        raise NotImplementedError

    def loss(self, pred: Tensor, *targets: Tensor) -> Tensor:
        """Loss of each element, shape (N, C), or (N, 1) per sample; a new tensor."""
        raise NotImplementedError

    def derivative_and_loss(self, pred: Tensor, *targets: Tensor) -> tuple[Tensor, Tensor]:
        """Both, from what they have in common."""
        return self.derivative(pred, *targets), self.loss(pred, *targets)


def gradient_norm(term: Term, derivative: Tensor) -> Tensor:
    """Gradient norm g in [0, 1] of each element: the size of its derivative, of a sample half the L1 norm."""
    size = derivative.abs()
    return size.sum(1, keepdim=True) / 2 if term.per_sample else size


class Samples(NamedTuple):
    """What the passes go through, with the samples along the first dimension.

    pred: floating point, shape (N, C).
    targets: what the term compares it with, each of a first dimension of N.
    weight: real, shape (N, 1) or (N, C); elements above 0 count. ``None`` where all do.
    """

    pred: Tensor
    targets: tuple[Tensor, ...]
    weight: Tensor | None

    @property
    def dtype(self) -> torch.dtype:
        """What the loss is computed in."""
        return torch.promote_types(self.pred.dtype, torch.float32)

    def split(self) -> list[Samples]:
        """The samples in pieces."""
        samples, channels = self.pred.shape
        size = _PIECE.get(self.pred.device.type, _PIECE_ELSEWHERE) // max(1, channels)
        # A multiple of 1,024 samples makes whole rows in the count.
        size = size // 1024 * 1024 or 1024
        # The compiler fuses the operations itself, and needs one graph for any number of samples.
        if torch.compiler.is_compiling() or samples <= size:
            return [self]
        parts = [slice(start, start + size) for start in range(0, samples, size)]
        return [
            Samples(
                self.pred[part],
                tuple(target[part] for target in self.targets),
                None if self.weight is None else self.weight[part],
            )
            for part in parts
        ]

    def prepared(self) -> Prepared:
        """The prediction in the dtype of the loss, and 0 where it is to be ignored.

        No weight of 0 would silence an infinity or NaN.
        """
        pred = self.pred.to(self.dtype)
        if self.weight is None:
            return Prepared(pred, self.targets, None)
        integer = torch.int64 if pred.dtype == torch.float64 else torch.int32
        if torch.compiler.is_compiling():
            valid = self.weight > 0
            return Prepared(torch.where(valid, pred, 0.0), self.targets, -valid.to(integer))
        # The same by the bits: on a CPU several times faster than anything with bools.
        mask = torch.empty(self.weight.shape, dtype=integer, device=pred.device)
        mask = torch.gt(self.weight, 0, out=mask).neg_()
        return Prepared((pred.view(integer) & mask).view(pred.dtype), self.targets, mask)


class Prepared(NamedTuple):
    """A piece to compute with; ``mask`` has all bits set where an element counts, and none where not."""

    pred: Tensor
    targets: tuple[Tensor, ...]
    mask: Tensor | None


class RegionWeights:
    """Harmonizing weights looked up by unit region."""

    def __init__(self, density: Density, dtype: torch.dtype):
        self.density, self.dtype = density, dtype
        self.counts: list[Tensor] = []
        self.regions: list[Tensor] = []

    def add(self, norm: Tensor, mask: Tensor | None, keep_small: bool) -> None:
        """Count the gradient norms of the next piece."""
        region = numbered_region(norm, self.density.bins, mask)
        self.counts.append(count_regions(region, self.density.bins))
        self.regions.append(region.to(self._small) if keep_small else region)

    @property
    def _small(self) -> torch.dtype:
        return next(
            dtype for dtype in (torch.uint8, torch.int16, torch.int32) if self.density.bins <= torch.iinfo(dtype).max
        )

    def finish(self, sum_of_weight: Tensor | None, reduction: str) -> None:
        """Make the weights, after the last piece."""
        count = sum(self.counts[1:], self.counts[0])
        count, total = self.density.over_ranks(count, count.sum() if sum_of_weight is None else sum_of_weight)
        total = total.clamp(min=1).to(self.dtype)
        weight = self.density.region_weight(count, total)
        weight = _scaled(weight, total, self.density.ranks, reduction)
        self.table = torch.cat([weight.new_zeros(1), weight])

    def of(self, piece: int, factor: Tensor | None = None) -> Tensor:
        """Harmonizing weight of each element in a piece, times a scalar factor."""
        table = self.table if factor is None else self.table * factor
        region = self.regions[piece].long()
        return table.expand(region.shape[0], -1).gather(1, region)


class _ExactWeights:
    """Harmonizing weights from each element's own window."""

    def __init__(self, density: Density, dtype: torch.dtype):
        self.density, self.dtype = density, dtype
        self.norms: list[Tensor] = []
        self.masks: list[Tensor] = []

    def add(self, norm: Tensor, mask: Tensor | None, keep_small: bool) -> None:
        """Collect the gradient norms of the next piece."""
        self.norms.append(norm)
        if mask is not None:
            self.masks.append(mask)

    def finish(self, sum_of_weight: Tensor | None, reduction: str) -> None:
        """Make the weights, after the last piece."""
        sizes = [norm.shape[0] for norm in self.norms]
        norm = torch.cat(self.norms)
        mask = torch.cat(self.masks) if self.masks else None
        del self.norms, self.masks
        if sum_of_weight is not None:
            total = sum_of_weight
        elif mask is None:
            total = torch.full((), norm.numel(), device=norm.device)
        else:
            total = -mask.sum() * (norm.shape[1] // max(1, mask.shape[1]))
        total = total.clamp(min=1).to(self.dtype)
        weight = total / masked_gradient_density(norm, 1 / self.density.bins, mask)
        if self.density.max_weight is not None:
            weight = weight.clamp(max=self.density.max_weight)
        weight = _scaled(weight, total, self.density.ranks, reduction)
        if mask is not None:
            weight = (weight.view(mask.dtype) & mask).view(weight.dtype)
        self.weights: tuple[Tensor, ...] = weight.split(sizes)

    def of(self, piece: int, factor: Tensor | None = None) -> Tensor:
        """Harmonizing weight of each element in a piece, times a scalar factor."""
        return self.weights[piece] if factor is None else self.weights[piece] * factor


def _scaled(weight: Tensor, total: Tensor, ranks: int, reduction: str) -> Tensor:
    """The weights with which the sum over the elements is the loss."""
    if reduction == "mean":
        return weight / total if ranks == 1 else weight / (total / ranks)
    return weight * ranks if reduction == "sum" and ranks > 1 else weight


Weights = RegionWeights | _ExactWeights
GradientOf = Callable[[Tensor], Tensor]


class _HarmonizedLoss(torch.autograd.Function):
    """Gives ``value``, the loss computed without autograd, its gradient with respect to ``pred``.

    ``gradient_of`` makes it of the gradient with respect to the loss; the weights are constants.
    """

    @staticmethod
    def forward(ctx: Any, pred: Tensor, samples: Samples, value: Tensor, gradient_of: GradientOf) -> Tensor:
        # What gradient_of reads; saved for autograd to find out whether it was changed in the meantime.
        ctx.save_for_backward(pred, *samples.targets, samples.weight)
        ctx.gradient_of = gradient_of
        return value.view_as(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        ctx.saved_tensors  # noqa: B018
        return ctx.gradient_of(grad_output), None, None, None


def _traced(samples: Samples, term: Term, weights: Weights, sum_of_weight: Tensor | None, reduction: str) -> Tensor:
    """The loss as an expression that a compiler differentiates and fuses."""
    piece = samples.prepared()
    with torch.no_grad():
        weights.add(gradient_norm(term, term.derivative(piece.pred, *piece.targets)), piece.mask, keep_small=False)
        weights.finish(sum_of_weight, reduction)
    loss = term.loss(piece.pred, *piece.targets) * weights.of(0)
    return loss if reduction == "none" else loss.sum()


def _in_one_go(
    samples: Samples, term: Term, weights: Weights, sum_of_weight: Tensor | None, reduction: str
) -> tuple[Tensor, GradientOf]:
    piece = samples.prepared()
    derivative, loss = term.derivative_and_loss(piece.pred, *piece.targets)
    weights.add(gradient_norm(term, derivative), piece.mask, keep_small=False)
    weights.finish(sum_of_weight, reduction)
    beta = weights.of(0)
    gradient, loss = derivative.mul_(beta), loss.mul_(beta)
    return (loss if reduction == "none" else loss.sum()), gradient.mul


def _in_pieces(
    samples: Samples,
    pieces: list[Samples],
    term: Term,
    weights: Weights,
    sum_of_weight: Tensor | None,
    reduction: str,
) -> tuple[Tensor, GradientOf]:
    for piece in map(Samples.prepared, pieces):
        weights.add(gradient_norm(term, term.derivative(piece.pred, *piece.targets)), piece.mask, keep_small=True)
    weights.finish(sum_of_weight, reduction)

    losses = []
    for i, piece in enumerate(map(Samples.prepared, pieces)):
        loss = term.loss(piece.pred, *piece.targets).mul_(weights.of(i))
        losses.append(loss if reduction == "none" else loss.sum())

    def gradient_of(grad_output: Tensor) -> Tensor:
        gradient = torch.empty_like(samples.pred, dtype=samples.dtype)
        size = pieces[0].pred.shape[0]
        for i, (piece, out) in enumerate(zip(map(Samples.prepared, pieces), gradient.split(size))):
            if reduction == "none":
                beta = weights.of(i) * grad_output[i * size : (i + 1) * size]
            else:
                beta = weights.of(i, grad_output)
            torch.mul(term.derivative(piece.pred, *piece.targets), beta, out=out)
        return gradient

    return (torch.cat(losses) if reduction == "none" else torch.stack(losses).sum()), gradient_of


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
    weights = (_ExactWeights if density.kind == "exact" else RegionWeights)(density, samples.dtype)
    if torch.compiler.is_compiling():
        return _traced(samples, term, weights, sum_of_weight, reduction)
    with torch.no_grad():
        constant = samples._replace(pred=samples.pred.detach())
        pieces = constant.split()
        if len(pieces) == 1:
            value, gradient_of = _in_one_go(constant, term, weights, sum_of_weight, reduction)
        else:
            value, gradient_of = _in_pieces(constant, pieces, term, weights, sum_of_weight, reduction)
    loss: Tensor = _HarmonizedLoss.apply(samples.pred, samples, value, gradient_of)
    return loss


def as_rows(value: Tensor) -> Tensor:
    """Any shape (..., C) as (N, C), and (N,) as (N, 1)."""
    return value.flatten(end_dim=-2) if value.dim() > 1 else value.unsqueeze(1)
