"""The classification bias with which plain cross-entropy starts lowest."""

from __future__ import annotations

import math

from . import checks


def optimal_bias(num_pos: float, num_samples: float, num_classes: int = 1) -> float:
    r"""Bias of the classification layer that minimises the total cross-entropy at the start of training.

    While the weights are small every sample has the same probability p' in every class, and

    .. math::
        CE = -N_p \log p' - (N_s C - N_p) \log(1 - p')

    is least at :math:`p' = N_p / (N_s C)`, the sigmoid of the bias :math:`b = \log(N_p / (N_s C - N_p))`.

    Args:
        num_pos: N_p, the number of positive samples, above 0; it may be a mean and need not be an integer.
        num_samples: N_s, the number of positives and negatives together, at least ``num_pos``; what the assigner
            ignores does not count.
        num_classes: C, the number of logits per sample, at least 1.

    Returns:
        The bias, finite.

    Raises:
        ValueError: an argument is out of its range. That includes ``num_pos`` = 0, and ``num_pos`` = ``num_samples``
            with one class: without a positive or without a negative the cross-entropy has no minimum and the bias
            would be infinite.

    Example:
        >>> round(optimal_bias(num_pos=10, num_samples=1000), 4)
        -4.5951

    Source: "Is Sampling Heuristics Necessary in Training Deep Object Detectors?" (Chen et al., arXiv:1909.04868),
    the optimal bias initialization of its sampling-free mechanism.
    """
    if num_pos == 0:
        raise ValueError("num_pos is 0, and without a positive the optimal bias is minus infinity")
    checks.check_positive("num_pos", num_pos)
    checks.check_positive("num_samples", num_samples)
    checks.check_count("num_classes", num_classes)
    if num_pos > num_samples:
        raise ValueError(f"num_pos counts some of num_samples = {num_samples!r} and cannot exceed it, got {num_pos!r}")
    negatives = num_samples * num_classes - num_pos
    if negatives <= 0:
        raise ValueError(
            f"num_pos must be below num_samples when there is one class, got {num_pos!r} of {num_samples!r}: without "
            "a negative the optimal bias is infinite"
        )
    return math.log(num_pos / negatives)
