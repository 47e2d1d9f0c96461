"""A loss whose elements are weighted by the density of their gradient norms, with no host sync."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import ops
from ..ops import elements
from .class_target import dense_target
from .exact_density import masked_gradient_density
from .weighting import Weighting


def harmonized_loss(
    kind: str,
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    weighting: Weighting,
    mu: float = 0.0,
    sum_of_weight: Tensor | None = None,
) -> Tensor:
    """The loss of the elements together, or of each with ``reduction="none"``.

    Args:
        kind: as in ``ghm_mmdet.ops.elements``, or ``"label"``.
        pred: floating point, shape (N, C).
        target: shape (N, C), or integer labels of shape (N,) for ``"label"``.
        weight: real, shape (N, 1) or (N, C); elements above 0 count. ``None`` where all do.
        weighting: where the weights come from, checked.
        mu: of authentic smooth L1.
        sum_of_weight: N where it is not the number of valid elements.

    Returns:
        The loss. Of several ranks (``sync``) "mean" and "sum" are such that their average over the ranks is the loss of
        all samples together, which makes DistributedDataParallel's averaged gradient that of one process.
    """
    # A new tensor in any case: what the caller does with the weight afterwards has no effect.
    valid = None if weight is None else ops.above_0(weight)
    sums = kind != "softmax" and weighting.density == "region" and weighting.reduction != "none"
    if sums and not weighting.scale_by_weight:
        if kind == "label":
            target = target.long().clamp(-1, pred.shape[1]).int()
        with torch.no_grad():
            statistics = ops.region_statistics(pred, target, valid, kind, mu, weighting.bins, weighting.backend)
            count, positive, loss_sum = statistics
            region_weight = weighting.of_regions(count, positive, sum_of_weight)
        loss: Tensor = _SumOfRegions.apply(pred, target, valid, kind, mu, region_weight, loss_sum, weighting.backend)
        return loss
    return _sum_of_elements(kind, pred, target, weight, valid, weighting, mu, sum_of_weight)


class _SumOfRegions(torch.autograd.Function):
    """Sum over the unit regions of their weight times the sum of their losses; the weights are constants."""

    @staticmethod
    def forward(
        ctx: Any,
        pred: Tensor,
        target: Tensor,
        valid: Tensor | None,
        kind: str,
        mu: float,
        region_weight: Tensor,
        loss_sum: Tensor,
        backend: str | None,
    ) -> Tensor:
        ctx.save_for_backward(pred, target, valid, region_weight)
        ctx.arguments = kind, mu, backend
        return (region_weight * loss_sum).sum().to(torch.promote_types(pred.dtype, torch.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, valid, region_weight = ctx.saved_tensors
        kind, mu, backend = ctx.arguments
        weight = (region_weight * grad_output).to(grad_output.dtype)
        return ops.harmonized_gradient(pred, target, valid, kind, mu, weight, backend), *[None] * 7


def _sum_of_elements(
    kind: str,
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    valid: Tensor | None,
    weighting: Weighting,
    mu: float,
    sum_of_weight: Tensor | None,
) -> Tensor:
    """As an expression that autograd differentiates: the loss of each element times its weight, a constant."""
    dtype = torch.promote_types(pred.dtype, torch.float32)
    pred, label = pred.to(dtype), target
    if target.dim() == 1:
        if kind == "softmax":
            label = label.long() if valid is None else torch.where(valid.squeeze(1), label.long(), 0)
            check_labels(label, pred.shape[1])
        target = dense_target(label, pred)
    target = target.to(dtype)
    if valid is not None:
        # A weight of 0 would not silence an infinity or NaN.
        pred, target = torch.where(valid, pred, 0), torch.where(valid, target, 0)
    kind = "dense" if kind == "label" else kind
    with torch.no_grad():
        norm = elements.gradient_norm(kind, pred, target, mu)
        counted = torch.ones_like(norm, dtype=torch.bool) if valid is None else valid.expand_as(norm)
        # Of softmax, whose last class is the background, the samples of other classes.
        positive = counted & ((target[:, :-1].sum(1, keepdim=True) if kind == "softmax" else target) > 0)
        if weighting.density == "exact":
            density = masked_gradient_density(norm, 1 / weighting.bins, counted, weighting.backend)
            factor = weighting.of_elements(density, counted, positive, sum_of_weight)
        else:
            region = torch.where(counted, elements.region_index(norm, weighting.bins), weighting.bins)
            sums = torch.zeros(2, weighting.bins + 1, dtype=torch.float64, device=pred.device)
            number = torch.stack([counted, positive]).to(sums.dtype)
            sums.scatter_add_(1, region.flatten().expand(2, -1), number.flatten(1))
            table = weighting.of_regions(sums[0, :-1], sums[1, :-1], sum_of_weight)
            factor = torch.cat([table, table.new_zeros(1)]).to(dtype).index_select(0, region.flatten()).view(norm.shape)
        if weighting.scale_by_weight and weight is not None:
            factor = factor * weight.to(dtype)
        factor = torch.where(counted, factor, 0)
    loss = elements.loss(kind, pred, label if kind == "softmax" else target, mu) * factor
    return loss if weighting.reduction == "none" else loss.sum()


def check_labels(label: Tensor, classes: int) -> None:
    """Raise ValueError for a label without a class; on a GPU the device itself stops at one."""
    try:
        torch.zeros(classes, device=label.device).index_select(0, label)
    except IndexError as error:
        raise ValueError(
            f"target must hold labels from 0 to {classes - 1} with use_sigmoid=False, where the background is a class "
            f"with a logit of its own (a head built for sigmoid has none), got another label"
        ) from error


def as_rows(value: Tensor) -> Tensor:
    """Any shape (..., C) as (N, C), and (N,) as (N, 1)."""
    return value.flatten(end_dim=-2) if value.dim() > 1 else value.unsqueeze(1)
