"""Integer labels and soft targets brought to one form."""

from __future__ import annotations

import torch
from torch import Tensor


def dense_target(target: Tensor, logits: Tensor) -> Tensor:
    """One number for each logit, whichever of the two forms a checked classification target has.

    Args:
        target: integer labels of shape (...), any value outside 0 to C - 1 being background, or values in [0, 1] of
            shape (..., C).
        logits: floating point, shape (..., C).

    Returns:
        One-hot rows for labels, else the values as they are; the shape of ``logits``, float32 (float64 for float64
        logits).
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    if target.dim() == logits.dim():
        return target.to(dtype)
    classes = torch.arange(logits.shape[-1], device=logits.device)
    return (target.unsqueeze(-1) == classes).to(dtype)
