"""Focal Loss for soft labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from . import checks
from .class_target import checked_pair


def soft_focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0, alpha: float = 0.5) -> Tensor:
    r"""Focal Loss of the hard targets 1 and 0, mixed by the soft target.

    .. math:: L = -\alpha\, t\, (1 - p)^\gamma \log p - (1 - \alpha)(1 - t)\, p^\gamma \log(1 - p)

    for targets t and p = sigmoid(x). With hard targets it is Focal Loss, with gamma 0 and alpha 0.5 half of binary
    cross-entropy. It is least at p = t only for gamma 0 and alpha 0.5, or t = 0 or 1.

    Args:
        logits: floating point, shape (N, C), or any (..., C); half and bfloat16 are computed in float32.
        target: values in [0, 1] of the shape of ``logits``, or integer labels of shape (N,), any value outside 0 to
            C - 1 being background.
        gamma: at least 0, finite.
        alpha: factor of a positive, in [0, 1]; a negative has 1 - alpha.

    Returns:
        The loss of each element, at least 0, float32 (float64 for float64 logits), the shape of ``logits``.

    Raises:
        ValueError: an argument is out of its range, or ``target`` does not fit ``logits``. Values are not looked at.

    Example:
        >>> soft_focal_loss(torch.zeros(1, 2), torch.tensor([[0.8, 0.0]]))
        tensor([[0.0866, 0.0866]])

    Source: the released code of Li et al., "Learning from Noisy Anchors for One-stage Object Detection" (CVPR 2020,
    arXiv:1912.05086), with gamma 2 and alpha 0.5.
    """
    checks.check_not_negative("gamma", gamma)
    checks.check_fraction("alpha", alpha)
    logits, target = checked_pair(logits, target)
    # p and 1 - p as exponentials: neither their powers nor the gradients of these overflow.
    log_p, log_q = F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = -alpha * target * (gamma * log_q).exp() * log_p
    negative = -(1 - alpha) * (1 - target) * (gamma * log_p).exp() * log_q
    return positive + negative
