"""Cleanliness: how far an anchor can be trusted to be a positive."""

from __future__ import annotations

from torch import Tensor

from . import checks


def cleanliness(localization: Tensor, confidence: Tensor, alpha: float = 0.5) -> Tensor:
    r"""The soft label of a positive anchor.

    .. math:: c = \alpha \, loc + (1 - \alpha) \, cls

    Args:
        localization: IoU of the anchor's predicted box with its ground truth, in [0, 1], floating point, any shape.
        confidence: its predicted score, in [0, 1], the same shape.
        alpha: in [0, 1]; 0.5 in the thesis's RPN, 0.75 in the released code of the paper.

    Returns:
        c, in [0, 1], the same shape, a constant without gradient.

    Raises:
        ValueError: ``alpha`` is out of its range, or the shapes differ.

    Example:
        >>> cleanliness(torch.tensor([0.8, 0.5]), torch.tensor([0.6, 0.1]))
        tensor([0.7000, 0.3000])

    Source: Li et al., "Learning from Noisy Anchors for One-stage Object Detection" (CVPR 2020, arXiv:1912.05086).
    """
    checks.check_fraction("alpha", alpha)
    checks.check_prediction("localization", localization)
    checks.check_prediction("confidence", confidence)
    if localization.shape != confidence.shape:
        raise ValueError(
            f"confidence must have the shape of localization, {tuple(localization.shape)}, got "
            f"{checks.describe(confidence)}"
        )
    return alpha * localization.detach() + (1 - alpha) * confidence.detach()
