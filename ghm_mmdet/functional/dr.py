"""DR Loss: rank the distribution of the positives above that of the negatives."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from . import checks


def dr_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    margin: float = 0.5,
    pos_lambda: float = 1.0,
    neg_lambda: float = 0.1 / math.log(3.5),
    slope: float = 6.0,
    tau: float = 4.0,
) -> Tensor:
    r"""The logistic loss of how far the expected score of the negatives is above that of the positives.

    .. math::
        P_+ = \sum_{i \in +} q_i p_i, \; q_i \propto e^{-p_i / \lambda_+}, \qquad
        P_- = \sum_{j \in -} q_j p_j, \; q_j \propto e^{p_j / \lambda_-}, \qquad
        L = \frac{\tau}{s} \log\left(1 + e^{s (P_- - P_+ + m)}\right)

    over all logits of the valid samples, p = sigmoid(x): those of a sample's own class are the positives, all others
    the negatives. Both weights q make the hard ones count, and carry a gradient. Without positives :math:`P_+` is 1,
    without negatives :math:`P_-` is 0; where no sample is valid the loss is 0.

    Args:
        logits: floating point, shape (N, C); half and bfloat16 are computed in float32.
        target: integer labels, shape (N,), any value outside 0 to C - 1 being background.
        weight: a sample counts where it is above 0; shape (N,) or (N, 1).
        margin: m, finite.
        pos_lambda: above 0; the smaller, the more the lowest positive counts.
        neg_lambda: above 0; the smaller, the more the highest negative counts.
        slope: s, above 0; L in the paper.
        tau: factor on the loss, above 0.

    Returns:
        The loss, at least 0, float32 (float64 for float64 logits), a scalar.

    Raises:
        ValueError: an argument is out of its range, or shapes or dtypes do not fit together. Values are not looked at.

    Example:
        >>> dr_loss(torch.tensor([[2.0, -2.0], [-2.0, -2.0]]), torch.tensor([0, 2]))
        tensor(0.1261)

    Source: Qian et al., "DR Loss: Improving Object Detection by Distributional Ranking" (CVPR 2020, arXiv:1907.10156),
    with the settings of its released code, which ranks the images of a GPU together, as one call does here.
    """
    checks.check_finite("margin", margin)
    for name, value in (("pos_lambda", pos_lambda), ("neg_lambda", neg_lambda), ("slope", slope), ("tau", tau)):
        checks.check_positive(name, value)
    checks.check_prediction("logits", logits)
    if logits.dim() != 2 or not isinstance(target, Tensor) or target.dim() != 1:
        raise ValueError(
            "dr_loss takes logits of shape (N, C) and integer labels of shape (N,), got "
            f"{checks.describe(logits)} and {checks.describe(target)}"
        )
    checks.check_class_target(target, logits)
    weight = checks.rows_of_weight(weight, logits, per_sample=True)
    valid = torch.ones_like(logits, dtype=torch.bool) if weight is None else (weight > 0).expand_as(logits)
    positive = target.unsqueeze(1) == torch.arange(logits.shape[1], device=logits.device)
    # What an ignored sample holds, be it infinite or NaN, has no effect.
    p = logits.masked_fill(~valid, 0).to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
    positives, negatives = positive & valid, ~positive & valid
    high = torch.where(positives.any(), _expectation(p, positives, -pos_lambda), 1.0)
    low = _expectation(p, negatives, neg_lambda)
    loss = F.softplus(slope * (low - high + margin)) * (tau / slope)
    return torch.where(valid.any(), loss, 0 * p.sum())


def _expectation(p: Tensor, among: Tensor, scale: float) -> Tensor:
    """The mean of p among some, weighted by exp(p / scale); 0 where there are none."""
    exponent = p / scale
    highest = exponent.detach().masked_fill(~among, -math.inf).amax() if p.numel() else p.new_zeros(())
    q = (exponent - highest.nan_to_num(neginf=0.0)).clamp(max=0).exp() * among
    return (q * p).sum() / q.sum().clamp(min=torch.finfo(p.dtype).tiny)
