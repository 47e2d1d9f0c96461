"""Probabilities taken back to the logits that they come from."""

from __future__ import annotations

import torch
from torch import Tensor

from . import checks
from .harmonized_loss import as_rows


def logits_of_probabilities(probability: Tensor, weight: Tensor | None = None) -> Tensor:
    """log(p / (1 - p)), with p held to [1e-6, 1 - 1e-6]; the gradient flows back through the logarithms.

    Args:
        probability: after a sigmoid, shape (N, C), or any (..., C).
        weight: shape (N,), (N, 1) or that of ``probability``. Where it is 0 the logit is 0, whatever stands there.

    Returns:
        The shape of ``probability``, float32 (float64 for float64).

    Raises:
        ValueError: shapes, dtypes or devices do not fit together.

    Example:
        >>> logits_of_probabilities(torch.tensor([0.5, 0.9, 1.0]))
        tensor([ 0.0000,  2.1972, 13.8023])
    """
    checks.check_prediction("pred", probability)
    rows = checks.rows_of_weight(weight, probability)
    if rows is not None:
        # Else the gradient of a NaN that is ignored would be one.
        probability = torch.where(rows > 0, as_rows(probability), 0.5).view(probability.shape)
    return probability.to(torch.promote_types(probability.dtype, torch.float32)).logit(eps=1e-6)
