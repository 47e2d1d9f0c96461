"""What a classification loss makes of the gradient norm of plain cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor

from ghm_mmdet.functional import checks


def focal_gradient_norm(gradient_norm: Tensor, gamma: float = 2.0) -> Tensor:
    r"""Size of Focal Loss's derivative with respect to the logit, alpha left out, for a gradient norm g.

    .. math:: |dFL/dx| = g^\gamma\, (g - \gamma (1 - g) \ln(1 - g)), \qquad g = 1 - p_t

    Args:
        gradient_norm: floating point, any shape, values in [0, 1].
        gamma: above 0.

    Returns:
        The size of the derivative, the shape of ``gradient_norm``.

    Raises:
        ValueError: ``gamma`` is not above 0.

    Example:
        >>> focal_gradient_norm(torch.tensor([0.0, 0.1, 0.9, 1.0]))
        tensor([0.0000, 0.0029, 1.1020, 1.0000])

    Source: Focal Loss paper (Lin et al., ICCV 2017, arXiv:1708.02002), appendix on the derivatives.
    """
    checks.check_positive("gamma", gamma)
    easy = 1 - gradient_norm
    return gradient_norm**gamma * (gradient_norm - gamma * torch.xlogy(easy, easy))
