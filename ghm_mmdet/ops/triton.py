"""The operators in Triton, for GPUs of CUDA and ROCm.

With ``TRITON_INTERPRET=1`` in the environment they run on a CPU, slowly.
"""

import functools
import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import reference

window_count = reference.window_count
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
# Elements whose gradient a program makes at a time.
_BLOCK = 1024
# Programs for each multiprocessor: they stay, and go through the elements in turn.
_PROGRAMS = 16
# A product and a sum are rounded one after the other, as by torch's operators, so that regions are the same.
_ROUNDING = {"enable_fp_fusion": False}


@triton.jit
def _derivative_and_loss(pred, target, kind: tl.constexpr, mu, square_of_mu):
    if kind == "asl1":
        difference = pred - target
        root = tl.minimum(tl.sqrt_rn(difference * difference + square_of_mu), tl.abs(difference) + 2 * mu)
        return tl.div_rn(difference, root), root - mu
    small = tl.exp(-tl.abs(pred))
    sigmoid = tl.div_rn(tl.where(pred >= 0, 1.0, small), 1.0 + small)
    # log(1 + small) = 2 artanh(ratio), a series in squares of at most 1/9.
    ratio = small / (small + 2.0)
    square = ratio * ratio
    series = square * 0.0 + 1 / 15
    for step in tl.static_range(7):
        series = series * square + 1 / (13 - 2 * step)
    loss = tl.maximum(pred, 0.0) - tl.where(target == 0, 0.0, pred * target) + 2.0 * ratio * series
    return sigmoid - target, loss


@triton.jit
def _elements(
    pred_ptr, target_ptr, valid_ptr, index, size, channels: tl.constexpr, kind: tl.constexpr, mu, square_of_mu, bins,
    per_sample: tl.constexpr, masked: tl.constexpr,
):  # fmt: skip
    """Derivative, loss, target and region of elements, the region -1 where one does not count."""
    counts = index < size
    pred = tl.load(pred_ptr + index, mask=counts, other=0.0).to(tl.float32)
    if kind == "label":
        label = tl.load(target_ptr + index // channels, mask=counts, other=-1)
        target = (label == index % channels).to(tl.float32)
    else:
        target = tl.load(target_ptr + index, mask=counts, other=0.0).to(tl.float32)
    if masked:
        place = index // channels if per_sample else index
        counts = counts & (tl.load(valid_ptr + place, mask=counts, other=0) != 0)
    derivative, loss = _derivative_and_loss(pred, target, kind, mu, square_of_mu)
    norm = tl.abs(derivative)
    # As in elements.py: a guess that is at most one region too high, and a comparison with its lower edge.
    region = tl.floor(tl.where(norm >= 0, norm, 0.0) * (bins * (1 + 2.0**-21)))
    region -= (norm < tl.div_rn(region, bins * 1.0)).to(tl.float32)
    region = tl.minimum(tl.maximum(region, 0.0), bins - 1.0).to(tl.int32)
    return derivative, loss, target, tl.where(counts, region, -1)


@triton.jit
def _statistics_kernel(
    pred_ptr, target_ptr, valid_ptr, out_ptr, size, bins, mu, square_of_mu, channels: tl.constexpr,
    kind: tl.constexpr, per_sample: tl.constexpr, masked: tl.constexpr, index_type: tl.constexpr,
    table: tl.constexpr, block: tl.constexpr, unroll: tl.constexpr, repeats: tl.constexpr,
):  # fmt: skip
    """Each program adds up its share of the elements, and writes its table once."""
    regions = tl.program_id(1) * table + tl.arange(0, table)
    count = tl.zeros((table,), tl.int64)
    positive = tl.zeros((table,), tl.int64)
    total = tl.zeros((table,), tl.float64)
    stretch: tl.constexpr = block * unroll * repeats
    for start in range(tl.program_id(0).to(index_type) * stretch, size, tl.num_programs(0) * stretch):
        # Both numbers in one: a stretch is shorter than 2^15, and whole floats are exact to 2^24.
        numbers = tl.zeros((table, block), tl.float32)
        losses = tl.zeros((table, block), tl.float32)
        for repeat in range(repeats):
            for step in tl.static_range(unroll):
                index = start + (repeat * unroll + step) * block + tl.arange(0, block)
                _, loss, target, region = _elements(
                    pred_ptr, target_ptr, valid_ptr, index, size, channels, kind, mu, square_of_mu, bins, per_sample,
                    masked,
                )  # fmt: skip
                own = region[None, :] == regions[:, None]
                # Additions of which the condition is part, one instruction each.
                numbers = tl.where(own, numbers + tl.where(target > 0, 65537.0, 1.0)[None, :], numbers)
                losses = tl.where(own, losses + loss[None, :], losses)
        number = tl.sum(numbers.to(tl.int32), 1)
        count += number & 65535
        positive += number >> 16
        total += tl.sum(losses, 1).to(tl.float64)
    out = out_ptr + tl.program_id(0) * 3 * bins + regions
    tl.store(out, count.to(tl.float64), mask=regions < bins)
    tl.store(out + bins, positive.to(tl.float64), mask=regions < bins)
    tl.store(out + 2 * bins, total, mask=regions < bins)


@triton.jit
def _gradient_kernel(
    pred_ptr, target_ptr, valid_ptr, weight_ptr, out_ptr, size, bins, mu, square_of_mu, channels: tl.constexpr,
    kind: tl.constexpr, per_sample: tl.constexpr, masked: tl.constexpr, index_type: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    for start in range(tl.program_id(0).to(index_type) * block, size, tl.num_programs(0) * block):
        index = start + tl.arange(0, block)
        derivative, _, _, region = _elements(
            pred_ptr, target_ptr, valid_ptr, index, size, channels, kind, mu, square_of_mu, bins, per_sample, masked
        )
        weight = tl.load(weight_ptr + region, mask=region >= 0, other=0.0)
        gradient = tl.where(region >= 0, derivative * weight, 0.0)
        tl.store(out_ptr + index, gradient.to(out_ptr.dtype.element_ty), mask=index < size)


@functools.cache
def usable() -> bool:
    """Whether a kernel runs here. Triton needs a C compiler beside the GPU, and may not know a new or old card."""
    try:
        probe = torch.zeros(1, 1, device="cpu" if _INTERPRETED else "cuda")
        region_statistics(probe, probe, None, "dense", 0.0, 1)
    except Exception:  # Of whatever kind it is, the reference has to do.
        return False
    return True


def region_statistics(pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, bins: int) -> Tensor:
    if pred.numel() == 0:
        return reference.region_statistics(pred, target, valid, kind, mu, bins)
    inputs, flags = _arguments(pred, target, valid, kind)
    sizes = _sizes(pred.numel(), bins)
    programs = _programs(pred, sizes["block"] * sizes["unroll"] * sizes["repeats"])
    sums = torch.empty(programs, 3, bins, dtype=torch.float64, device=pred.device)
    with torch.cuda.device_of(pred):
        _statistics_kernel[programs, triton.cdiv(bins, sizes["table"])](
            *inputs, sums, pred.numel(), bins, mu, mu * mu, **flags, **sizes, **_ROUNDING, num_warps=1
        )
    return sums.sum(0)


def harmonized_gradient(
    pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, region_weight: Tensor
) -> Tensor:
    if pred.numel() == 0:
        return reference.harmonized_gradient(pred, target, valid, kind, mu, region_weight)
    inputs, flags = _arguments(pred, target, valid, kind)
    gradient = torch.empty_like(pred, memory_format=torch.contiguous_format)
    weight = region_weight.float().contiguous()
    with torch.cuda.device_of(pred):
        _gradient_kernel[(_programs(pred, _BLOCK),)](
            *inputs, weight, gradient, pred.numel(), weight.numel(), mu, mu * mu, **flags, **_ROUNDING, block=_BLOCK
        )
    return gradient


def _arguments(
    pred: Tensor, target: Tensor, valid: Tensor | None, kind: str
) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any]]:
    """Contiguous tensors, and what the kernels are compiled for."""
    if not (pred.is_cuda or _INTERPRETED):
        raise ValueError(f"backend='triton' is for tensors on a GPU, got one on {pred.device}")
    if kind != "label" and target.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        target = target.float()
    mask = pred if valid is None else valid.contiguous().view(torch.uint8)
    return (pred.contiguous(), target.contiguous(), mask), {
        "channels": pred.shape[1],
        "kind": kind,
        "per_sample": valid is not None and valid.shape[1] == 1,
        "masked": valid is not None,
        "index_type": tl.int32 if pred.numel() < 2**30 else tl.int64,
    }


def _sizes(elements: int, bins: int) -> dict[str, int]:
    """Regions of a program's table and its columns, and how often elements are added to each column in float32.

    A column is a thread, so that nothing is exchanged before the end of a stretch. More regions are shared out among
    programs that each read all elements.
    """
    table = triton.next_power_of_2(bins)
    if _INTERPRETED:  # It pays for each program and each block, whatever their size.
        block = min(2**14, tl.TRITON_MAX_TENSOR_NUMEL // table, triton.next_power_of_2(elements))
        return {"table": table, "block": block, "unroll": 1, "repeats": 1}
    return {"table": min(32, table), "block": 32, "unroll": 4, "repeats": 16}


def _programs(pred: Tensor, elements: int) -> int:
    """Number of programs that share out the elements, each taking so many at a time."""
    return min(triton.cdiv(pred.numel(), elements), _PROGRAMS * _multiprocessors(pred.device))


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
