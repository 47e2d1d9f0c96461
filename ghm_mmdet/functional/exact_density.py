"""The gradient density as the paper defines it, without unit regions."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops
from . import checks


def exact_gradient_density(gradient_norm: Tensor, eps: float, valid: Tensor | None = None) -> Tensor:
    r"""Gradient density of each element: how many lie within half a window of it, over the window's true length.

    .. math::
        GD(g) = \frac{\#\{k : g - \epsilon/2 \le g_k < g + \epsilon/2\}}{l(g)}, \qquad
        l(g) = \min(g + \epsilon/2, 1) - \max(g - \epsilon/2, 0)

    Sorting makes it O(N log N) where the definition is O(N^2).

    Args:
        gradient_norm: floating point, any shape, values in [0, 1]; half and bfloat16 are computed in float32.
        eps: width of the window, in (0, 1].
        valid: bool, the shape of ``gradient_norm``; whether an element counts. ``None`` counts all.

    Returns:
        GD, the shape of ``gradient_norm``, at least 1 for an element that counts and of no meaning for one that does
        not; float32 (float64 for float64 input), without gradient.

    Raises:
        ValueError: ``eps`` is outside (0, 1], or ``valid`` does not fit.

    Example:
        >>> exact_gradient_density(torch.tensor([0.5, 0.6, 1.0]), eps=0.25)
        tensor([8., 8., 8.])

    Source: GHM paper (Li, Liu and Wang, AAAI 2019, arXiv:1811.05181), section "Gradient Density".
    """
    checks.check_positive("eps", eps)
    if eps > 1:
        raise ValueError(f"eps must be in (0, 1], the width of the window, got {eps!r}")
    checks.check_prediction("gradient_norm", gradient_norm)
    if valid is not None and (valid.shape != gradient_norm.shape or valid.dtype != torch.bool):
        raise ValueError(
            f"valid must be bool of the shape of gradient_norm, {tuple(gradient_norm.shape)}, "
            f"got {checks.describe(valid)}"
        )
    norm = gradient_norm.detach().to(torch.promote_types(gradient_norm.dtype, torch.float32)).abs()
    return masked_gradient_density(norm, eps, valid)


def masked_gradient_density(norm: Tensor, eps: float, valid: Tensor | None, backend: str | None = None) -> Tensor:
    """As :func:`exact_gradient_density`, for float32 or float64 values that are not negative."""
    # Floats that are not negative sort like the integers of the same bits, and torch sorts integers faster.
    if valid is not None:
        # Infinity sorts behind every window.
        norm = torch.where(valid, norm, torch.inf)
    bits, order = norm.view(torch.int64 if norm.dtype == torch.float64 else torch.int32).flatten().sort()
    ordered = bits.view(norm.dtype)
    low, high = ordered - eps / 2, ordered + eps / 2
    density = ops.window_count(ordered, low, high, backend) / high.clamp_(max=1).sub_(low.clamp_(min=0))
    return torch.empty_like(density).scatter_(0, order, density).view(norm.shape)
