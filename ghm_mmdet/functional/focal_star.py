"""FL*, the variant of Focal Loss with a shifted and steeper sigmoid."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from . import checks
from .balanced_cross_entropy import alpha_balance
from .class_target import checked_pair


def focal_star_loss(
    logits: Tensor, target: Tensor, gamma: float = 2.0, beta: float = 1.0, alpha: float = 0.25
) -> Tensor:
    r"""FL*: cross-entropy of a sigmoid that saturates earlier, so that well-classified samples count less.

    .. math::
        x_t = (2t - 1)\, x, \quad p^*_t = \sigma(\gamma x_t + \beta), \quad
        L = -\frac{\alpha_t}{\gamma} \log p^*_t, \qquad \alpha_t = \alpha t + (1 - \alpha)(1 - t)

    for logits x and target t. A soft target mixes the two hard ones:
    :math:`-\alpha_t\,(t \log p^*_1 + (1 - t) \log p^*_0) / \gamma`. With gamma 1 and beta 0 it is alpha-balanced
    cross-entropy.

    Args:
        logits: floating point, shape (N, C), or any (..., C); half and bfloat16 are computed in float32.
        target: integer labels of shape (N,), any value outside 0 to C - 1 being background, or values in [0, 1] of the
            shape of ``logits``: one-hot, several classes at once, or soft.
        gamma: slope of the sigmoid, above 0.
        beta: its shift, finite. The paper's pairs (gamma, beta) are (2, 1) and (4, 0).
        alpha: factor of a positive, in [0, 1]; a negative has 1 - alpha.

    Returns:
        The loss of each element, at least 0, float32 (float64 for float64 logits), the shape of ``logits``.

    Raises:
        ValueError: an argument is out of its range, or ``target`` does not fit ``logits``. Values are not looked at.

    Example:
        >>> focal_star_loss(torch.zeros(1, 2), torch.tensor([0]), gamma=2.0, beta=1.0)
        tensor([[0.0392, 0.1175]])

    Source: Focal Loss paper (Lin et al., ICCV 2017, arXiv:1708.02002), appendix A, "Focal Loss*".
    """
    checks.check_positive("gamma", gamma)
    checks.check_finite("beta", beta)
    checks.check_fraction("alpha", alpha)
    logits, target = checked_pair(logits, target)
    steep = gamma * logits
    log_probability = target * F.logsigmoid(beta + steep) + (1 - target) * F.logsigmoid(beta - steep)
    return alpha_balance(target, alpha) * log_probability / -gamma
