"""The operators that a GHM loss is made of, the only place that knows how to be fast.

One pass over the elements counts them and sums their losses, unit region by unit region; from these few numbers follow
the loss and the harmonizing weights. A second pass makes the gradient. A third operator counts for the exact density.

Three back ends do the same: :mod:`reference <ghm_mmdet.ops.reference>` in plain torch, for any device and dtype;
:mod:`cpu <ghm_mmdet.ops.cpu>` in C++, where ``python -m ghm_mmdet.ops build`` has compiled it; and ``triton``, for a
GPU. All compute in float32, of float64 in float64. The operators are registered with torch as
``ghm_mmdet::region_statistics``, ``ghm_mmdet::harmonized_gradient`` and ``ghm_mmdet::window_count``: torch picks the
back end by the device, and torch.compile and CUDA graphs go through them. A back end that is asked for by name is an
operator of its own.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import cpu

BACKENDS = ("reference", "cpu", "triton")
_TRITON_IS_INSTALLED = importlib.util.find_spec("triton") is not None


@functools.cache
def _module(backend: str) -> ModuleType:
    # Not imported before it is needed: Triton takes a while.
    return importlib.import_module(f".{backend}", __name__)


def backend_for(device: str) -> str:
    """Name of the back end that runs on a type of device when none is asked for."""
    if device == "cpu" and cpu.loaded():
        return "cpu"
    if device == "cuda" and _TRITON_IS_INSTALLED and _module("triton").usable():
        return "triton"
    return "reference"


def _implementation(name: str, backend: str | None) -> Callable[..., Tensor]:
    def run(*inputs: Any) -> Tensor:
        result: Tensor = getattr(_module(backend or backend_for(inputs[0].device.type)), name)(*inputs)
        return result

    return run


_INPUTS = "Tensor pred, Tensor target, Tensor? valid, str kind, float mu"
_library = torch.library.Library("ghm_mmdet", "DEF")
for _name, _arguments, _fake in (
    (
        "region_statistics",
        f"{_INPUTS}, int bins",
        lambda pred, target, valid, kind, mu, bins: pred.new_empty((3, bins), dtype=torch.float64),
    ),
    (
        "harmonized_gradient",
        f"{_INPUTS}, Tensor region_weight",
        lambda pred, *others: torch.empty_like(pred, memory_format=torch.contiguous_format),
    ),
    (
        "window_count",
        "Tensor ordered, Tensor low, Tensor high",
        lambda ordered, *others: torch.empty_like(ordered, dtype=torch.int32),
    ),
):
    for _prefix, _backend in (("", None), ("reference_", "reference"), ("triton_", "triton")):
        _library.define(f"{_prefix}{_name}({_arguments}) -> Tensor")
        # On a CPU the C++ library, once it is loaded, takes the place of this one for the operator without a prefix.
        _library.impl(_prefix + _name, _implementation(_name, _backend), "CompositeExplicitAutograd")
        torch.library.register_fake(f"ghm_mmdet::{_prefix}{_name}", _fake)
cpu.load()


def region_statistics(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    kind: str,
    mu: float,
    bins: int,
    backend: str | None = None,
) -> Tensor:
    """Sums over the elements of each unit region of the gradient norm.

    Args:
        pred: floating point, shape (N, C).
        target: integer labels of shape (N,), any value outside 0 to C - 1 being background, for ``"label"``; else real
            of shape (N, C).
        weight: real or bool, shape (N, 1) or (N, C); elements above 0 count, and what the others hold has no effect, be
            it infinite or NaN. ``None`` counts all.
        kind: ``"label"`` and ``"dense"``: binary cross-entropy of logits; ``"asl1"``: authentic smooth L1.
        mu: of authentic smooth L1; the others do not look at it.
        bins: number of unit regions.
        backend: ``"reference"``, ``"cpu"`` or ``"triton"``; ``None`` leaves the choice to torch.

    Returns:
        float64 of shape (3, bins): the number of elements, the number of those whose target is above 0, and the sum of
        their losses. It unpacks into ``count, positive, loss_sum``.

    Raises:
        ValueError: kind or back end is unknown, or the back end is for another device or not built.
    """
    inputs = _prepared(pred, target, weight, kind)
    return _operator("region_statistics", pred, backend)(*inputs, kind, mu, bins)


def harmonized_gradient(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None,
    kind: str,
    mu: float,
    region_weight: Tensor,
    backend: str | None = None,
) -> Tensor:
    """Derivative of each element's loss times the weight of its unit region, 0 where an element does not count.

    Args:
        region_weight: floating point, shape (bins,). The others are those of :func:`region_statistics`.

    Returns:
        The shape and dtype of ``pred``.
    """
    inputs = _prepared(pred, target, weight, kind)
    return _operator("harmonized_gradient", pred, backend)(*inputs, kind, mu, region_weight)


def window_count(ordered: Tensor, low: Tensor, high: Tensor, backend: str | None = None) -> Tensor:
    """Number of the values from ``low``, which counts, to ``high``, for each of as many windows.

    All three ascend, float32 or float64, shape (N,); the numbers are in int32.
    """
    return _operator("window_count", ordered, backend)(ordered, low, high)


def above_0(weight: Tensor) -> Tensor:
    """Where a weight is above 0, in bool, by two operators that a CPU computes several at a time, unlike ``>``."""
    return torch.gt(weight, 0, out=torch.empty_like(weight)).bool() if weight.dtype.is_signed else weight.bool()


def _operator(name: str, value: Tensor, backend: str | None) -> Callable[..., Tensor]:
    if backend not in (None, *BACKENDS):
        raise ValueError(f"backend must be one of {', '.join(map(repr, BACKENDS))}, or None, got {backend!r}")
    if backend == "reference" or value.dtype == torch.float64:
        name = f"reference_{name}"
    elif backend == "triton":
        name = f"triton_{name}"
    elif backend == "cpu" and value.device.type != "cpu":
        raise ValueError(f"backend='cpu' is for tensors on a CPU, got one on {value.device}")
    elif backend == "cpu" and not cpu.loaded():
        raise ValueError("backend='cpu' has not been built: python -m ghm_mmdet.ops build")
    operator: Callable[..., Tensor] = getattr(torch.ops.ghm_mmdet, name).default
    return operator


def _prepared(pred: Tensor, target: Tensor, weight: Tensor | None, kind: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """What the back ends take: labels in int32, and a bool for what counts."""
    if kind not in ("label", "dense", "asl1"):
        raise ValueError(f"kind must be 'label', 'dense' or 'asl1', got {kind!r}")
    if kind == "label" and target.dtype != torch.int32:
        target = target.long().clamp(-1, pred.shape[1]).int()
    if weight is not None and weight.dtype != torch.bool:
        weight = above_0(weight)
    return pred, target, weight
