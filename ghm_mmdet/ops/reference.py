"""The two operators in plain torch, for any device and dtype, in pieces that stay in a processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from . import elements

# Elements in one piece: on a CPU what fits its second-level cache, on a GPU enough to keep it busy.
_PIECE = {"cpu": 2**17}
_PIECE_ELSEWHERE = 2**23


def region_statistics(pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, bins: int) -> Tensor:
    sums = torch.zeros(3, bins + 1, dtype=torch.float64, device=pred.device)
    for _, x, t, v in _pieces(pred, target, valid, kind):
        region = elements.region_index(elements.gradient_norm(kind, x, t, mu), bins)
        if v is not None:
            region = torch.where(v, region, bins)
        values = torch.stack([torch.ones_like(x), t > 0, elements.loss(kind, x, t, mu)])
        sums.scatter_add_(1, region.flatten().expand(3, -1), values.flatten(1).double())
    return sums[:, :bins].contiguous()


def harmonized_gradient(
    pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, region_weight: Tensor
) -> Tensor:
    gradient = torch.empty_like(pred, memory_format=torch.contiguous_format)
    for part, x, t, v in _pieces(pred, target, valid, kind):
        derivative = elements.derivative(kind, x, t, mu)
        region = elements.region_index(derivative.abs(), region_weight.numel())
        weight = region_weight.to(x.dtype).index_select(0, region.flatten()).view(x.shape)
        gradient[part] = derivative * weight if v is None else torch.where(v, derivative * weight, 0)
    return gradient


def _pieces(
    pred: Tensor, target: Tensor, valid: Tensor | None, kind: str
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor | None]]:
    """Which samples a piece holds, their predictions and targets as floats, and which of the elements count."""
    dtype = torch.promote_types(pred.dtype, torch.float32)
    samples, channels = pred.shape
    step = max(1, _PIECE.get(pred.device.type, _PIECE_ELSEWHERE) // max(1, channels))
    classes = torch.arange(channels, device=pred.device)
    for start in range(0, samples, step):
        part = slice(start, start + step)
        dense = target[part, None] == classes if kind == "label" else target[part]
        yield part, pred[part].to(dtype), dense.to(dtype), None if valid is None else valid[part]
