"""The two operators that a GHM loss is made of, the only place that knows how to be fast.

One pass over the elements counts them and sums their losses, unit region by unit region; from these few numbers follow
the loss and the harmonizing weights. A second pass makes the gradient.

Two back ends do the same: :mod:`reference <ghm_mmdet.ops.reference>` in plain torch, for any device and dtype; and
:mod:`cpu <ghm_mmdet.ops.cpu>` in C++, where ``python -m ghm_mmdet.ops build`` has compiled it. A GPU runs the first;
its speed there is not measured. Both compute in float32, of float64 in float64. The operators are registered
with torch as ``ghm_mmdet::region_statistics`` and ``ghm_mmdet::harmonized_gradient``: torch picks the back end by the
device, and torch.compile and CUDA graphs go through them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from . import cpu, reference

_BACKENDS: dict[str, ModuleType] = {"reference": reference, "cpu": cpu}
_DEVICES = {"CompositeExplicitAutograd": "reference", "CPU": "cpu"}
BACKENDS = tuple(_BACKENDS)

_library = torch.library.Library("ghm_mmdet", "DEF")
_library.define("region_statistics(Tensor pred, Tensor target, Tensor? valid, str kind, float mu, int bins) -> Tensor")
_library.define(
    "harmonized_gradient(Tensor pred, Tensor target, Tensor? valid, str kind, float mu, Tensor region_weight) -> Tensor"
)
for _key, _backend in _DEVICES.items():
    for _name in ("region_statistics", "harmonized_gradient"):
        _library.impl(_name, getattr(_BACKENDS[_backend], _name), _key)


@torch.library.register_fake("ghm_mmdet::region_statistics")
def _(pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, bins: int) -> Tensor:
    return pred.new_empty((3, bins), dtype=torch.float64)


@torch.library.register_fake("ghm_mmdet::harmonized_gradient")
def _(pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, region_weight: Tensor) -> Tensor:
    return torch.empty_like(pred, memory_format=torch.contiguous_format)


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
        backend: ``"reference"`` or ``"cpu"``; ``None`` leaves the choice to torch.

    Returns:
        float64 of shape (3, bins): the number of elements, the number of those whose target is above 0, and the sum of
        their losses. It unpacks into ``count, positive, loss_sum``.

    Raises:
        ValueError: kind or back end is unknown.
    """
    inputs = _prepared(pred, target, weight, kind)
    return _operator("region_statistics", backend)(*inputs, kind, mu, bins)


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
    return _operator("harmonized_gradient", backend)(*inputs, kind, mu, region_weight)


def backend_for(device: str) -> str:
    """Name of the back end that runs on a type of device when none is asked for."""
    return "cpu" if device == "cpu" and cpu.loaded() else "reference"


def _prepared(pred: Tensor, target: Tensor, weight: Tensor | None, kind: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """What the back ends take: labels in int32, and a bool for what counts."""
    if kind not in ("label", "dense", "asl1"):
        raise ValueError(f"kind must be 'label', 'dense' or 'asl1', got {kind!r}")
    if kind == "label" and target.dtype != torch.int32:
        target = target.long().clamp(-1, pred.shape[1]).int()
    if weight is not None and weight.dtype != torch.bool:
        weight = weight > 0
    return pred, target, weight


def _operator(name: str, backend: str | None) -> Callable[..., Tensor]:
    if backend is None:
        return getattr(torch.ops.ghm_mmdet, name)
    if backend not in _BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(map(repr, BACKENDS))}, or None, got {backend!r}")
    return getattr(_BACKENDS[backend], name)
