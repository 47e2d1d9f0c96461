"""Cleanliness, how far an anchor can be trusted to be a positive, and the soft labels and weights made of it."""

from __future__ import annotations

import torch
from torch import Tensor

from . import checks

SMALLEST_ERROR = 1e-6  # of 1 - x in f(x)


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


def rescaled_cleanliness(localization: Tensor, confidence: Tensor, alpha: float = 0.75) -> Tensor:
    r"""The soft labels of an image's positive anchors, spread from the mean localization to 1.

    .. math::
        c_i = \alpha \frac{loc_i}{\overline{loc}} + (1 - \alpha) \frac{cls_i}{\overline{cls}}, \qquad
        t_i = \overline{loc} + (1 - \overline{loc}) \frac{c_i - \min c}{\max c - \min c}

    where a bar is the mean over the positives. All equal, or one alone, they have the label :math:`\overline{loc}`.

    Args:
        localization: IoU of each positive's predicted box with its ground truth, in [0, 1], shape (P,).
        confidence: its predicted score, in [0, 1], shape (P,).
        alpha: in [0, 1].

    Returns:
        t, in [0, 1], shape (P,), a constant without gradient.

    Raises:
        ValueError: ``alpha`` is out of its range, or the shapes differ.

    Example:
        >>> rescaled_cleanliness(torch.tensor([0.8, 0.4]), torch.tensor([0.5, 0.1]))
        tensor([1.0000, 0.6000])

    Source: the released code of Li et al., "Learning from Noisy Anchors for One-stage Object Detection" (CVPR 2020,
    arXiv:1912.05086). The paper has c of :func:`ghm_mmdet.functional.cleanliness` as it is; the code finds labels in
    [C, 1] more stable.
    """
    if len(localization) == 0:
        return cleanliness(localization, confidence, alpha)
    tiny = torch.finfo(localization.dtype).tiny
    mean = localization.detach().mean()
    c = cleanliness(localization / mean.clamp(min=tiny), confidence / confidence.detach().mean().clamp(min=tiny), alpha)
    return mean + (c - c.min()) * ((1 - mean) / (c.max() - c.min()).clamp(min=tiny))


def cleanliness_weight(localization: Tensor, confidence: Tensor, alpha: float = 0.75, gamma: float = 1.0) -> Tensor:
    r"""The weights of an image's positive anchors in both losses: the cleaner, the larger.

    .. math::
        r_i = \left( \alpha \frac{f(loc_i)}{\overline{f(loc)}} + (1 - \alpha) \frac{f(cls_i)}{\overline{f(cls)}}
        \right)^\gamma, \qquad f(x) = \frac{1}{1 - x}

    where a bar is the mean over the positives. Their mean is 1 for gamma 1; for gamma 0 each is 1. A negative has the
    weight 1. 1 - x counts as at least 1e-6.

    Args:
        localization: IoU of each positive's predicted box with its ground truth, in [0, 1], shape (P,).
        confidence: its predicted score, in [0, 1], shape (P,).
        alpha: in [0, 1].
        gamma: at least 0, finite.

    Returns:
        r, above 0 and at most P to the power of gamma, shape (P,), a constant without gradient.

    Raises:
        ValueError: ``alpha`` or ``gamma`` is out of its range, or the shapes differ.

    Example:
        >>> cleanliness_weight(torch.tensor([0.75, 0.5]), torch.tensor([0.5, 0.0]))
        tensor([1.3333, 0.6667])

    Source: Li et al., "Learning from Noisy Anchors for One-stage Object Detection" (CVPR 2020, arXiv:1912.05086), gamma
    and f; the means as in its released code.
    """
    checks.check_not_negative("gamma", gamma)
    f_loc, f_cls = (1 / (1 - x.detach()).clamp(min=SMALLEST_ERROR) for x in (localization, confidence))
    return cleanliness(f_loc / f_loc.mean(), f_cls / f_cls.mean(), alpha) ** gamma
