"""The operators in plain torch, for any device and dtype, in pieces that stay in a processor's cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from . import elements

# Elements in one piece: on a CPU what fits the second-level caches of the cores, on a GPU enough to keep it busy.
_PIECE_OF_A_CORE = 2**15
_PIECE_ELSEWHERE = 2**23


def region_statistics(pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, bins: int) -> Tensor:
    # Numbers and losses of targets up to 0 and above, first where an element does not count, then in each region.
    sums = torch.zeros(2, 2 * (bins + 1), dtype=torch.float64, device=pred.device)
    number, loss_sum = sums
    for _, x, t, v in _pieces(pred, target, valid, kind):
        column = elements.region_as_float(elements.gradient_norm(kind, x, t, mu), bins).add_(1)
        if v is not None:
            column *= v
        column.add_(t if kind == "label" else torch.gt(t, 0, out=torch.empty_like(t)), alpha=bins + 1)
        # By int32, since a CPU converts to that and from it several at a time.
        place = column.int().long().flatten()
        number.scatter_add_(0, place, number.new_ones(()).expand(place.shape))
        loss_sum.scatter_add_(0, place, elements.loss(kind, x, t, mu).flatten().double())
    (below, above), losses = sums.view(2, 2, -1)[..., 1:]
    return torch.stack([below + above, above, losses.sum(0)])


def harmonized_gradient(
    pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, region_weight: Tensor
) -> Tensor:
    gradient = torch.empty_like(pred, memory_format=torch.contiguous_format)
    for part, x, t, v in _pieces(pred, target, valid, kind):
        derivative = elements.derivative(kind, x, t, mu)
        region = elements.region_as_float(derivative.abs(), region_weight.numel()).int()
        derivative *= region_weight.to(x.dtype).index_select(0, region.flatten()).view(x.shape)
        if v is not None:
            # Also a NaN is cleared, and several at a time, unlike by torch.where.
            integer = torch.int64 if x.dtype == torch.float64 else torch.int32
            derivative.view(integer).bitwise_and_(-v.to(integer))
        gradient[part] = derivative
    return gradient


def window_count(ordered: Tensor, low: Tensor, high: Tensor) -> Tensor:
    first, end = (torch.searchsorted(ordered, edge, out_int32=True) for edge in (low, high))
    return end.sub_(first)


def _pieces(
    pred: Tensor, target: Tensor, valid: Tensor | None, kind: str
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor | None]]:
    """Which samples a piece holds, their predictions and targets as floats, and which of the elements count."""
    dtype = torch.promote_types(pred.dtype, torch.float32)
    samples, channels = pred.shape
    piece = _PIECE_OF_A_CORE * max(2, torch.get_num_threads()) if pred.device.type == "cpu" else _PIECE_ELSEWHERE
    step = max(1, piece // max(1, channels))
    classes = torch.arange(channels, device=pred.device, dtype=dtype)
    for start in range(0, samples, step):
        part = slice(start, start + step)
        x, t = pred[part].to(dtype), target[part].to(dtype)
        if kind == "label":
            t = torch.eq(t[:, None], classes, out=torch.empty_like(x))
        yield part, x, t, None if valid is None else valid[part]
