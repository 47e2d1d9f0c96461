"""Cross-entropy of what is not right yet: every element with a small gradient norm is left out."""

from __future__ import annotations

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor

from . import checks
from .class_target import checked_pair, joined_target
from .harmonized_loss import as_rows


def threshold_cross_entropy_loss(
    logits: Tensor,
    target: Tensor | tuple[Tensor, Tensor],
    weight: Tensor | None = None,
    threshold: float = 1 / 30,
    sync: bool = False,
) -> Tensor:
    r"""Binary cross-entropy of the elements whose gradient norm reaches a threshold, the positives' share made up for.

    .. math::
        L_i = \frac{P}{\max(P_\theta, 1)}\, w_i\, BCE(x_i, t_i)\, [\,g_i \ge \theta\,], \qquad g_i = |\sigma(x_i) - t_i|

    for logits x, target t, weight w and threshold :math:`\theta`. P is the number of positives (targets above 0) with a
    weight above 0, and :math:`P_\theta` how many of them reach the threshold, so that the positives weigh together what
    they weigh in cross-entropy; ``normalize="positives"`` of :func:`ghm_c_loss` does the same. Without positives the
    factor is 1.

    This is the robust form of GHM-C with its two effects reduced to one: the crowd of easy background has no say, and
    what is beyond it is not weighed by how rare it is. No state and no density.

    Take it where positives are very rare, a thousand logits to one or more; where they are common it can do
    worse than cross-entropy, as on digits with 161 logits to one.

    Args:
        logits: floating point, shape (N, C), or any (..., C); half and bfloat16 are computed in float32.
        target: integer labels of shape (N,), any value outside 0 to C - 1 being background, or values in [0, 1] of the
            shape of ``logits``, or a pair of labels and scores, both of shape (N,): the score for the sample's own
            class and 0 for the others.
        weight: shape (N,), (N, 1) or that of ``logits``, at least 0; a factor on the loss. What an element with weight
            0 holds has no effect. ``None`` is 1 everywhere.
        threshold: :math:`\theta`, in [0, 1]; 1 / 30 is the first of GHM-C's 30 unit regions, 0 is cross-entropy.
        sync: whether P and :math:`P_\theta` are those of all ranks of torch.distributed, at the cost of one small
            all-reduce that every rank must take part in.

    Returns:
        The loss of each element, float32 (float64 for float64 logits), the shape of ``logits``. Which elements are left
        out and the factor are constants of the gradient.

    Raises:
        ValueError: the threshold is out of its range, or shapes, dtypes or devices do not fit together. Values are not
            looked at.

    Example:
        Gradient norms 0.018, 0.5, and of the two positives 0.5 and 0.018: one positive of two is left, so what is kept
        counts twice.

        >>> logits = torch.tensor([[-4.0], [0.0], [0.0], [4.0]])
        >>> threshold_cross_entropy_loss(logits, torch.tensor([1, 1, 0, 0]))
        tensor([[0.0000],
                [1.3863],
                [1.3863],
                [0.0000]])

    Source: ours, the control for what the density of GHM-C adds.
    """
    checks.check_fraction("threshold", threshold)
    target = joined_target(target, logits)
    rows, dense = (as_rows(value) for value in checked_pair(logits, target))
    weight = checks.rows_of_weight(weight, logits)
    with torch.no_grad():
        positive = dense > 0
        # A NaN is kept, so that it shows in the loss.
        kept = ~((rows.sigmoid() - dense).abs() < threshold)
        if weight is not None:
            positive, kept = positive & (weight > 0), kept & (weight > 0)
        positives = torch.stack([positive.sum(), (positive & kept).sum()])
        if sync and torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(positives)
        factor = torch.where(positives[0] > 0, positives[0] / positives[1].clamp(min=1), 1).to(rows.dtype)
    # What is left out may be infinite or NaN.
    rows, dense = (torch.where(kept, value, 0) for value in (rows, dense))
    loss = F.binary_cross_entropy_with_logits(rows, dense, reduction="none") * (kept * factor)
    return (loss if weight is None else loss * weight.to(loss.dtype)).view(logits.shape)
