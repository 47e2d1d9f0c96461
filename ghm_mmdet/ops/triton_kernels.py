"""The two operators in Triton, for GPUs of CUDA and ROCm.

``TRITON_INTERPRET=1`` runs the same kernels on a CPU, without their speed.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import reference

# Elements that a program works on at a time, and unit regions that it keeps tables for, both powers of two. More
# regions are shared out among programs, each of which then reads all elements.
_BLOCK = 128
_TABLE = 32
_PROGRAMS = 2048
_GRADIENT_BLOCK = 1024


@triton.jit
def _derivative_and_loss(pred, target, kind: tl.constexpr, mu):
    if kind == "asl1":
        difference = pred - target
        root = tl.minimum(tl.sqrt_rn(difference * difference + mu * mu), tl.abs(difference) + 2 * mu)
        return tl.div_rn(difference, root), root - mu
    inverse_odds = tl.exp(-tl.abs(pred))
    share = tl.div_rn(tl.where(pred >= 0, 1.0, inverse_odds), 1.0 + inverse_odds)
    # log(1 + x) = 2 artanh(ratio), a series in squares of at most 1/9.
    ratio = tl.div_rn(inverse_odds, inverse_odds + 2.0)
    square = ratio * ratio
    series = square * 0.0 + 1 / 15
    for step in tl.static_range(7):
        series = series * square + 1 / (13 - 2 * step)
    loss = tl.maximum(pred, 0.0) - tl.where(target == 0, 0.0, pred * target) + 2.0 * ratio * series
    return share - target, loss


@triton.jit
def _element(
    pred_ptr, target_ptr, valid_ptr, index, inside, channels: tl.constexpr, kind: tl.constexpr, mu, bins,
    per_sample: tl.constexpr, masked: tl.constexpr,
):  # fmt: skip
    """Derivative, loss, target and region of elements, the region -1 where one does not count."""
    pred = tl.load(pred_ptr + index, mask=inside, other=0.0).to(tl.float32)
    if kind == "label":
        own = tl.load(target_ptr + index // channels, mask=inside, other=-1)
        target = (own == index % channels).to(tl.float32)
    else:
        target = tl.load(target_ptr + index, mask=inside, other=0.0).to(tl.float32)
    derivative, loss = _derivative_and_loss(pred, target, kind, mu)
    norm = tl.abs(derivative)
    # As in elements.py: the guess is at most one region too high, and the comparison with its lower edge repairs it.
    guess = tl.floor(tl.minimum(tl.where(norm >= 0, norm, 0.0), 1.0) * (bins * (1 + 2.0**-21)))
    guess -= (norm < tl.div_rn(guess, bins * 1.0)).to(tl.float32)
    region = tl.minimum(tl.maximum(guess, 0.0), bins - 1.0).to(tl.int32)
    if masked:
        place = index // channels if per_sample else index
        inside = inside & (tl.load(valid_ptr + place, mask=inside, other=0) != 0)
    return derivative, loss, target, tl.where(inside, region, -1)


@triton.jit
def _statistics_kernel(
    pred_ptr, target_ptr, valid_ptr, out_ptr, size, bins, mu, channels: tl.constexpr, kind: tl.constexpr,
    per_sample: tl.constexpr, masked: tl.constexpr, table: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Each program adds up a share of the elements for itself, and writes its table once."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    rows = tl.arange(0, table)[:, None]
    first = tl.program_id(1) * table
    count = tl.zeros((table, block), tl.int32)
    positive = tl.zeros((table, block), tl.int32)
    total = tl.zeros((table, block), tl.float32)
    for start in range(program * block, size, programs * block):
        index = start + tl.arange(0, block).to(tl.int64)
        _, loss, target, region = _element(
            pred_ptr, target_ptr, valid_ptr, index, index < size, channels, kind, mu, bins, per_sample, masked
        )
        own = region[None, :] == rows + first
        count += own.to(tl.int32)
        positive += (own & (target[None, :] > 0)).to(tl.int32)
        total += tl.where(own, loss[None, :], 0.0)
    region = first + tl.arange(0, table)
    out = out_ptr + program * 3 * bins + region
    kept = region < bins
    tl.store(out, tl.sum(count, 1).to(tl.float64), mask=kept)
    tl.store(out + bins, tl.sum(positive, 1).to(tl.float64), mask=kept)
    tl.store(out + 2 * bins, tl.sum(total.to(tl.float64), 1), mask=kept)


@triton.jit
def _gradient_kernel(
    pred_ptr, target_ptr, valid_ptr, weight_ptr, out_ptr, size, bins, mu, channels: tl.constexpr,
    kind: tl.constexpr, per_sample: tl.constexpr, masked: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    derivative, _, _, region = _element(
        pred_ptr, target_ptr, valid_ptr, index, index < size, channels, kind, mu, bins, per_sample, masked
    )
    weight = tl.load(weight_ptr + region, mask=region >= 0, other=0.0)
    gradient = tl.where(region >= 0, derivative * weight, 0.0)
    tl.store(out_ptr + index, gradient.to(out_ptr.dtype.element_ty), mask=index < size)


def region_statistics(pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, bins: int) -> Tensor:
    if pred.dtype == torch.float64 or pred.numel() == 0:
        return reference.region_statistics(pred, target, valid, kind, mu, bins)
    inputs, flags = _inputs(pred, target, valid, kind)
    programs = min(triton.cdiv(pred.numel(), _BLOCK), _PROGRAMS)
    sums = torch.empty(programs, 3, bins, dtype=torch.float64, device=pred.device)
    _statistics_kernel[programs, triton.cdiv(bins, _TABLE)](
        *inputs, sums, pred.numel(), bins, mu, **flags, table=_TABLE, block=_BLOCK
    )
    return sums.sum(0)


def harmonized_gradient(
    pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, region_weight: Tensor
) -> Tensor:
    if pred.dtype == torch.float64 or pred.numel() == 0:
        return reference.harmonized_gradient(pred, target, valid, kind, mu, region_weight)
    inputs, flags = _inputs(pred, target, valid, kind)
    gradient = torch.empty_like(pred, memory_format=torch.contiguous_format)
    weight = region_weight.float().contiguous()
    _gradient_kernel[(triton.cdiv(pred.numel(), _GRADIENT_BLOCK),)](
        *inputs, weight, gradient, pred.numel(), weight.numel(), mu, **flags, block=_GRADIENT_BLOCK
    )
    return gradient


def _inputs(pred: Tensor, target: Tensor, valid: Tensor | None, kind: str) -> tuple[list[Tensor], dict]:
    masked = valid is not None
    mask = valid.contiguous().view(torch.uint8) if valid is not None else pred
    per_sample = valid is not None and valid.shape[1] == 1 and pred.shape[1] != 1
    if kind != "label" and target.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        target = target.float()
    flags = {"channels": pred.shape[1], "kind": kind, "per_sample": per_sample, "masked": masked}
    return [pred.contiguous(), target.contiguous(), mask], flags
