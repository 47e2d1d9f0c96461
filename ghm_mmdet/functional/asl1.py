"""Authentic smooth L1 loss (ASL1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops import elements
from . import checks


def asl1_loss(pred: Tensor, target: Tensor, mu: float = 0.02) -> Tensor:
    r"""Authentic smooth L1: an L1 loss whose gradient is smooth everywhere.

    .. math:: ASL1(d) = \sqrt{d^2 + \mu^2} - \mu, \qquad d = pred - target

    Args:
        pred: floating point, shape (N, 4), or any (..., C); half and bfloat16 are computed in float32.
        target: real, the shape of ``pred``.
        mu: above 0; where the loss turns from quadratic to linear.

    Returns:
        The loss of each element, at least 0, float32 (float64 for float64 input), the shape of ``pred``.

    Raises:
        ValueError: ``mu`` is not above 0, or ``target`` does not fit ``pred``.

    Example:
        >>> asl1_loss(torch.tensor([0.0, 0.3]), torch.tensor([0.0, -0.1]), mu=0.3)
        tensor([0.0000, 0.2000])

    Source: GHM paper (Li, Liu and Wang, AAAI 2019, arXiv:1811.05181), section "GHM-R Loss".
    """
    checks.check_positive("mu", mu)
    checks.check_prediction("pred", pred)
    checks.check_dense_target(target, pred, "pred")
    dtype = torch.promote_types(pred.dtype, torch.float32)
    return elements.loss("asl1", pred.to(dtype), target.to(dtype), mu)
