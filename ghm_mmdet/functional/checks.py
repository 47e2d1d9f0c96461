"""Argument checks shared by the losses.

They look at Python numbers, shapes, dtypes and devices, never at a tensor's values: on a GPU that would make the host
wait for the device.
"""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch
from torch import Tensor

REDUCTIONS = ("none", "mean", "sum")


def check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def check_momentum(momentum: float) -> None:
    if isinstance(momentum, bool) or not isinstance(momentum, Real) or not 0 <= momentum < 1:
        raise ValueError(f"momentum must be a number in [0, 1), 0 for no moving average, got {momentum!r}")


def check_positive(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}")


def check_finite(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")


def check_not_negative(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")


def check_fraction(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number in [0, 1], got {value!r}")


def check_reduction(reduction: str, name: str = "reduction") -> None:
    check_choice(name, reduction, REDUCTIONS)


def check_choice(name: str, value: str | None, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_density_arguments(bins: int, momentum: float, max_weight: float | None, density: str, sync: bool) -> None:
    check_count("bins", bins)
    check_momentum(momentum)
    if max_weight is not None:
        check_positive("max_weight", max_weight)
    check_choice("density", density, ("region", "exact"))
    if density == "exact" and momentum > 0:
        raise ValueError(f"momentum must be 0 with density='exact', which has no counts to average, got {momentum!r}")
    if density == "exact" and sync:
        raise ValueError("sync must be False with density='exact', which cannot be counted rank by rank, got True")


def describe(value: object) -> str:
    """Shape and dtype of a tensor, or the type of anything else, for an error message."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__


def check_prediction(name: str, pred: Tensor) -> None:
    if not isinstance(pred, Tensor) or not pred.is_floating_point() or pred.dim() == 0:
        raise ValueError(f"{name} must be a floating-point tensor of shape (N, C), or (..., C), got {describe(pred)}")


def check_same_device(name: str, value: Tensor, like: Tensor) -> None:
    if value.device != like.device:
        raise ValueError(f"{name} must be on the device of the prediction, {like.device}, got {value.device}")


def check_constant(name: str, value: Tensor) -> None:
    """Refuse a tensor that asks for a gradient which the loss would silently not give."""
    if value.requires_grad:
        raise ValueError(f"{name} is a constant of the loss and gets no gradient: pass {name}.detach()")


def check_dense_target(target: Tensor, pred: Tensor, pred_name: str) -> None:
    """Check a target with one number per prediction."""
    if not isinstance(target, Tensor) or target.shape != pred.shape or target.is_complex():
        raise ValueError(
            f"target must be a real tensor of the shape of {pred_name}, {tuple(pred.shape)}, got {describe(target)}"
        )
    check_same_device("target", target, pred)
    check_constant("target", target)


def check_class_target(target: Tensor, logits: Tensor) -> None:
    """Check a target that is either one integer label per sample or one number in [0, 1] per logit."""
    if isinstance(target, Tensor) and target.dim() == logits.dim():
        check_dense_target(target, logits, "logits")
        return
    integer = isinstance(target, Tensor) and not (
        target.is_floating_point() or target.is_complex() or target.dtype == torch.bool
    )
    if not integer or target.shape != logits.shape[:-1]:
        raise ValueError(
            f"target must hold integer labels of shape {tuple(logits.shape[:-1])} or values in [0, 1] of the shape of "
            f"logits, {tuple(logits.shape)}, got {describe(target)}"
        )
    check_same_device("target", target, logits)


def rows_of_weight(weight: Tensor | None, pred: Tensor, *, per_sample: bool = False) -> Tensor | None:
    """Check a weight and bring it to the shape (N, 1) or (N, C) that goes with ``pred`` seen as (N, C).

    Args:
        weight: ``None``, one entry per prediction (the shape of ``pred``), or one per sample (the shape of ``pred``
            without its last dimension, or with a last dimension of 1). One per prediction may be flat.
        pred: the checked prediction, of shape (..., C), or (N,), which counts as (N, 1).
        per_sample: whether only one entry per sample will do.

    Raises:
        ValueError: the weight does not fit the prediction.
    """
    if weight is None:
        return None
    samples = pred.shape[:-1] if pred.dim() > 1 else pred.shape
    if not per_sample and isinstance(weight, Tensor) and weight.dim() == 1 and weight.shape != samples:
        # Some heads of mmdet hand over one entry per prediction in one row.
        weight = weight.view(pred.shape) if weight.numel() == pred.numel() else weight
    shapes = [samples, (*samples, 1)] if per_sample else [samples, (*samples, 1), pred.shape]
    if not isinstance(weight, Tensor) or weight.is_complex() or weight.shape not in shapes:
        per_prediction = "" if per_sample else f", or {tuple(pred.shape)}, one per prediction"
        raise ValueError(
            f"weight must be a real tensor of shape {tuple(samples)}, one entry per sample{per_prediction}, "
            f"got {describe(weight)}"
        )
    check_same_device("weight", weight, pred)
    check_constant("weight", weight)
    return weight.flatten(end_dim=-2) if pred.dim() > 1 and weight.dim() == pred.dim() else weight.reshape(-1, 1)
