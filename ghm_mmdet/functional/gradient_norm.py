"""The gradient norm of each element: what GHM sorts them by."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops import elements
from . import checks
from .class_target import checked_pair
from .harmonized_loss import as_rows


def classification_gradient_norm(logits: Tensor, target: Tensor, *, use_sigmoid: bool = True) -> Tensor:
    r"""Size of the derivative of cross-entropy with respect to the logits.

    .. math:: g = |\sigma(x) - t|

    for each logit; without ``use_sigmoid`` for each sample, half the L1 norm of the softmax's derivative, which for a
    label y is 1 - p_y.

    Args:
        logits: floating point, shape (N, C), or any (..., C); half and bfloat16 are computed in float32.
        target: integer labels of shape (N,), any value outside 0 to C - 1 being background, or values in [0, 1] of the
            shape of ``logits``.
        use_sigmoid: whether each logit is a classification of its own.

    Returns:
        g in [0, 1], shape (N, C), with softmax (N, 1), N being all samples; float32, or float64 for float64 logits.

    Raises:
        ValueError: shapes, dtypes or devices do not fit together.

    Source: GHM paper (Li, Liu and Wang, AAAI 2019, arXiv:1811.05181), section "Problem Description".

    Example:
        >>> classification_gradient_norm(torch.zeros(2, 2), torch.tensor([0, 2]))
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    rows, dense = (as_rows(value) for value in checked_pair(logits, target))
    return elements.gradient_norm("dense" if use_sigmoid else "softmax", rows, dense)


def regression_gradient_norm(pred: Tensor, target: Tensor, mu: float = 0.02) -> Tensor:
    r"""Size of the derivative of authentic smooth L1.

    .. math:: g = \frac{|d|}{\sqrt{d^2 + \mu^2}}, \qquad d = pred - target

    Args:
        pred: floating point, any shape; half and bfloat16 are computed in float32.
        target: real, the shape of ``pred``.
        mu: above 0.

    Returns:
        g in [0, 1], the shape of ``pred``; float32, or float64 for float64 predictions.

    Raises:
        ValueError: ``mu`` is not above 0, or ``target`` does not fit ``pred``.

    Source: GHM paper (arXiv:1811.05181), section "GHM-R Loss".

    Example:
        >>> regression_gradient_norm(torch.tensor([0.0, 4.0]), torch.zeros(2), mu=3.0)
        tensor([0.0000, 0.8000])
    """
    checks.check_positive("mu", mu)
    checks.check_prediction("pred", pred)
    checks.check_dense_target(target, pred, "pred")
    dtype = torch.promote_types(pred.dtype, torch.float32)
    return elements.gradient_norm("asl1", pred.to(dtype), target.to(dtype), mu)
