"""Alpha-balanced cross-entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from . import checks
from .class_target import checked_pair


def balanced_cross_entropy_loss(logits: Tensor, target: Tensor, alpha: float = 0.75) -> Tensor:
    r"""Binary cross-entropy with one factor for positives and another for negatives.

    .. math:: L = \alpha_t\, BCE(x, t), \qquad \alpha_t = \alpha t + (1 - \alpha)(1 - t)

    for logits x and target t. It is mmdet's FocalLoss with gamma 0.

    Args:
        logits: floating point, shape (N, C), or any (..., C); half and bfloat16 are computed in float32.
        target: integer labels of shape (N,), any value outside 0 to C - 1 being background, or values in [0, 1] of the
            shape of ``logits``: one-hot, several classes at once, or soft.
        alpha: factor of a positive, in [0, 1]; a negative has 1 - alpha.

    Returns:
        The loss of each element, at least 0, float32 (float64 for float64 logits), the shape of ``logits``.

    Raises:
        ValueError: ``alpha`` is out of its range, or ``target`` does not fit ``logits``. Values are not looked at.

    Example:
        >>> balanced_cross_entropy_loss(torch.zeros(2, 2), torch.tensor([0, 2]), alpha=0.75)
        tensor([[0.5199, 0.1733],
                [0.1733, 0.1733]])

    Source: Focal Loss paper (Lin et al., ICCV 2017, arXiv:1708.02002), equation 3; 0.75 is the best alpha of table 1a.
    """
    checks.check_fraction("alpha", alpha)
    logits, target = checked_pair(logits, target)
    return alpha_balance(target, alpha) * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def alpha_balance(target: Tensor, alpha: float) -> Tensor:
    """alpha_t: ``alpha`` where the target is 1, 1 - ``alpha`` where it is 0, and linear between."""
    return alpha * target + (1 - alpha) * (1 - target)
