"""Loss, derivative and gradient norm of one element, and its unit region: each formula once for all Python code.

``kind`` says what an element is: ``"dense"``, a logit with a target in [0, 1]; ``"asl1"``, a difference under authentic
smooth L1; ``"softmax"``, a whole sample with a distribution over its classes. Predictions and targets are of shape
(N, C) and of one dtype, float32 or float64. Operators know ``"label"`` as well: ``"dense"`` with a label a sample.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Relative surplus of the product that finds a region: with it rounding can only give one region too high, never too
# low, so that one comparison with the region's lower edge repairs it.
_SURPLUS = 1 + 2.0**-21


def loss(kind: str, pred: Tensor, target: Tensor, mu: float = 0.0) -> Tensor:
    """Loss of each element, shape (N, C), or (N, 1) where an element is a sample; autograd can differentiate it."""
    if kind == "asl1":
        return asl1_root(pred - target, mu) - mu
    if kind == "softmax":
        return F.cross_entropy(pred, target, reduction="none").unsqueeze(1)
    return F.binary_cross_entropy_with_logits(pred, target, reduction="none")


def derivative(kind: str, pred: Tensor, target: Tensor, mu: float = 0.0) -> Tensor:
    """Derivative of the loss with respect to the prediction, shape (N, C)."""
    if kind == "asl1":
        difference = pred - target
        return difference / asl1_root(difference, mu)
    if kind == "softmax":
        return pred.softmax(1) * target.sum(1, keepdim=True) - target
    return pred.sigmoid() - target


def gradient_norm(kind: str, pred: Tensor, target: Tensor, mu: float = 0.0) -> Tensor:
    """Size of the derivative of each element, in [0, 1]; of a sample half the L1 norm, shape (N, 1)."""
    size = derivative(kind, pred, target, mu).abs_()
    return size.sum(1, keepdim=True) / 2 if kind == "softmax" else size


def asl1_root(difference: Tensor, mu: float) -> Tensor:
    """sqrt(d^2 + mu^2), what ASL1 and its derivative share."""
    root = (difference * difference).add_(mu * mu).sqrt_()
    # The square of a huge difference overflows although its root does not; this bound is beyond the root of all others.
    # (torch.hypot does not overflow either, but rounds otherwise than mmdet's GHMR, which the subtraction of mu shows.)
    return torch.minimum(root, difference.abs().add_(2 * mu))


def region_index(gradient_norm: Tensor, bins: int) -> Tensor:
    """Index of the unit region [j / bins, (j + 1) / bins) of each gradient norm, int64; a NaN is in the first."""
    return region_as_float(gradient_norm, bins).long()


def region_as_float(gradient_norm: Tensor, bins: int) -> Tensor:
    """As :func:`region_index`, in the dtype of the gradient norm, which a CPU computes several at a time."""
    region = (gradient_norm * (bins * _SURPLUS)).trunc_()
    lower_edge = region / bins
    region -= torch.lt(gradient_norm, lower_edge, out=lower_edge)
    return region.nan_to_num_(nan=0.0).clamp_(0, bins - 1)
