"""What a loss makes of the gradient norm of plain cross-entropy, or of that of authentic smooth L1."""

from __future__ import annotations

import torch
from torch import Tensor

from . import checks
from .harmonizing_weight import harmonizing_weight
from .unit_region import unit_region


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


def ghm_gradient_norm(gradient_norm: Tensor, count: Tensor) -> Tensor:
    r"""Size of the derivative of N times GHM-C, or GHM-R, for a gradient norm g among given counts.

    .. math:: \beta(g)\, g, \qquad \beta(g) = \frac{N}{R_{ind(g)}\, n}

    Args:
        gradient_norm: floating point, any shape, values in [0, 1].
        count: :math:`R_j`, the number of elements in each unit region, shape (bins,).

    Returns:
        The size of the derivative, the shape of ``gradient_norm``; 0 in an empty region.

    Source: GHM paper (Li, Liu and Wang, AAAI 2019, arXiv:1811.05181), sections "GHM-C Loss" and "GHM-R Loss".

    Example:
        >>> ghm_gradient_norm(torch.tensor([0.25, 0.75]), torch.tensor([3, 1]))
        tensor([0.1667, 1.5000])
    """
    weight = harmonizing_weight(count, count.sum().to(gradient_norm.dtype))
    return weight[unit_region(gradient_norm, len(count))] * gradient_norm


def smooth_l1_gradient_norm(gradient_norm: Tensor, mu: float = 0.02, beta: float = 1.0) -> Tensor:
    r"""Size of smooth L1's derivative for a difference whose gradient norm under authentic smooth L1 is g.

    .. math:: \min(|d| / \beta, 1), \qquad |d| = \frac{\mu g}{\sqrt{1 - g^2}}

    Args:
        gradient_norm: floating point, any shape, values in [0, 1].
        mu: of authentic smooth L1, above 0.
        beta: where smooth L1 turns from quadratic to linear, above 0.

    Returns:
        The size of the derivative, the shape of ``gradient_norm``.

    Raises:
        ValueError: ``mu`` or ``beta`` is not above 0.

    Source: GHM paper (arXiv:1811.05181), section "GHM-R Loss".

    Example:
        >>> smooth_l1_gradient_norm(torch.tensor([0.0, 0.8]), mu=3.0, beta=8.0)
        tensor([0.0000, 0.5000])
    """
    checks.check_positive("mu", mu)
    checks.check_positive("beta", beta)
    difference = mu * gradient_norm / (1 - gradient_norm * gradient_norm).sqrt()
    return difference.div(beta).clamp(max=1)
