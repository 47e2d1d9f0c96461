"""Integer labels and soft targets brought to one form."""

from __future__ import annotations

import torch
from torch import Tensor

from . import checks


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
    # In int64, since a narrow dtype may not hold the number of classes.
    return (target.long().unsqueeze(-1) == classes).to(dtype)


def checked_pair(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and the dense target of each, both in float32 (float64 for float64 logits), once they are found to fit.

    Raises:
        ValueError: ``target`` does not fit ``logits``.
    """
    checks.check_prediction("logits", logits)
    checks.check_class_target(target, logits)
    dense = dense_target(target, logits)
    return logits.to(dense.dtype), dense


def soft_target(label: Tensor, score: Tensor, logits: Tensor) -> Tensor:
    """A dense target with ``score`` in the column of each sample's own class and 0 elsewhere.

    Args:
        label: integer, shape (N,); any value outside 0 to C - 1 is background.
        score: real, shape (N,), values in [0, 1].
        logits: floating point, shape (N, C).

    Raises:
        ValueError: label or score does not fit.
    """
    checks.check_class_target(label, logits)
    if not isinstance(score, Tensor) or score.shape != label.shape or label.dim() == logits.dim():
        raise ValueError(
            f"a target of two parts must be (labels, scores), both of shape {tuple(logits.shape[:-1])}, "
            f"got {checks.describe(label)} and {checks.describe(score)}"
        )
    checks.check_constant("target", score)
    # The score of the background may be anything, NaN too.
    return torch.where(dense_target(label, logits) > 0, score.unsqueeze(-1), 0)


def joined_target(target: Tensor | tuple[Tensor, Tensor], logits: Tensor) -> Tensor:
    """A target as one tensor: of a pair of labels and scores its :func:`soft_target`, else the target itself."""
    if isinstance(target, tuple | list) and len(target) == 2:
        return soft_target(*target, logits)
    return target
