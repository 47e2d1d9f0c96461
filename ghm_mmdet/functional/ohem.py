"""Online hard example mining (OHEM) with a fixed ratio of negatives to positives."""

from __future__ import annotations

from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from . import checks
from .class_target import checked_pair
from .harmonized_loss import as_rows


def ohem_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    neg_pos_ratio: float = 3.0,
    *,
    num_images: int = 1,
) -> Tensor:
    r"""Binary cross-entropy of all positives and of the hardest negatives; the other negatives count 0.

    .. math::
        l_i = \sum_c w_{ic}\, BCE(x_{ic}, t_{ic}), \qquad
        L_{ic} = w_{ic}\, BCE(x_{ic}, t_{ic}) \text{ where i is positive or among the k largest } l_j
        \text{ of the negatives, else 0}, \qquad k = \lfloor r \max(N_p, 1) \rfloor

    for logits x, target t, weight w and ratio r. A sample (an anchor, with all its classes) is positive when a target
    of it is above 0. N_p is the number of positives: of all samples, or of each image for itself.

    Where there is no positive the negatives are mined as for one, so that an image without objects still teaches the
    background. Of negatives with equal loss the first come first.

    Args:
        logits: floating point, shape (N, C), or any (..., C); half and bfloat16 are computed in float32.
        target: integer labels of shape (N,), any value outside 0 to C - 1 being background, or values in [0, 1] of the
            shape of ``logits``: one-hot, several classes at once, or soft.
        weight: shape (N,), (N, 1) or that of ``logits``, at least 0; a factor on the loss, before negatives are
            compared. A sample whose weights are all 0 is neither positive nor negative. ``None`` is 1 everywhere.
        neg_pos_ratio: r, at least 0; ``math.inf`` keeps all negatives, which is plain cross-entropy.
        num_images: the N samples are this many images one after the other, equally long, and each image is mined for
            itself; 1 mines all samples together.

    Returns:
        The loss of each element, float32 (float64 for float64 logits), the shape of ``logits``. The choice of samples
        is a constant of the gradient.

    Raises:
        ValueError: an argument is out of its range, N is no multiple of ``num_images``, or shapes, dtypes or devices do
            not fit together. Values are not looked at.

    Example:
        One positive, and of three negatives the hardest.

        >>> ohem_loss(torch.tensor([[0.0], [-3.0], [1.0], [-1.0]]), torch.tensor([0, 1, 1, 1]), neg_pos_ratio=1.0)
        tensor([[0.6931],
                [0.0000],
                [1.3133],
                [0.0000]])

    Source: OHEM (Shrivastava et al., CVPR 2016, arXiv:1604.03540) in the form of SSD (Liu et al., ECCV 2016,
    arXiv:1512.02325), section "Hard negative mining".
    """
    check_ratio(neg_pos_ratio)
    rows, dense = (as_rows(value) for value in checked_pair(logits, target))
    weight = checks.rows_of_weight(weight, logits)
    checks.check_count("num_images", num_images)
    if rows.shape[0] % num_images:
        raise ValueError(f"num_images = {num_images} does not divide the number of samples, {rows.shape[0]}")

    positive = dense > 0
    if weight is None:
        counted = torch.ones_like(positive[:, :1])
    else:
        counted = weight > 0
        # A weight of 0 does not silence the infinity or NaN of an element that is to be ignored.
        rows, dense = (torch.where(counted, value, 0) for value in (rows, dense))
        positive = positive & counted
    loss = F.binary_cross_entropy_with_logits(rows, dense, reduction="none")
    if weight is not None:
        loss = torch.where(counted, loss * weight.to(loss.dtype), 0)
    chosen = choose_samples(loss.detach().sum(1), positive.any(1), counted.any(1), neg_pos_ratio, num_images)
    return torch.where(chosen.unsqueeze(1), loss, 0).view(logits.shape)


def choose_samples(loss: Tensor, positive: Tensor, counted: Tensor, neg_pos_ratio: float, num_images: int) -> Tensor:
    """Which samples OHEM keeps.

    Args:
        loss: of each sample, floating point, shape (N,).
        positive: bool, shape (N,).
        counted: bool, shape (N,); false for a sample that is left out.
        neg_pos_ratio: negatives kept for each positive.
        num_images: equally long parts of N, each mined for itself.

    Returns:
        All positives and the hardest negatives, bool, shape (N,).
    """
    shape = (num_images, loss.shape[0] // num_images)
    loss, positive, counted = (value.view(shape) for value in (loss, positive, counted))
    negative = counted & ~positive
    # A NaN sorts first and is kept, so that it shows in the loss.
    order = loss.masked_fill(~negative, -torch.inf).sort(dim=1, descending=True, stable=True).indices
    place = torch.arange(1, order.shape[1] + 1, device=order.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, place)
    hardest = rank <= neg_pos_ratio * positive.sum(1, keepdim=True).clamp(min=1)
    return (positive | (negative & hardest)).flatten()


def check_ratio(neg_pos_ratio: float) -> None:
    if isinstance(neg_pos_ratio, bool) or not isinstance(neg_pos_ratio, Real) or not neg_pos_ratio >= 0:
        raise ValueError(f"neg_pos_ratio must be a number of at least 0, math.inf for all, got {neg_pos_ratio!r}")
