"""GHM-R as a module."""

from __future__ import annotations

import torch
from torch import Tensor

from ..functional import checks, ghm_r_loss
from ..functional.mean_difference import mean_difference
from .region_state import RegionState


class GHMR(RegionState):
    """Gradient harmonizing regression loss; see :func:`ghm_mmdet.functional.ghm_r_loss` for the formula.

    With the arguments that mmdet's GHMR has, value, gradient and state are those of mmdet's. What differs:

    - ``momentum`` is the published 0.7 by default, where mmdet has 0.
    - The weight may be left out, is also called ``weight``, and may have one entry per sample.
    - ``reduction="sum"`` works, where mmdet's raises: it is the sum of the weighted elements, N times the mean.
    - Half and bfloat16 predictions are computed in float32 and give a float32 loss, and ``.half()`` leaves the buffers
      in float32.
    - A huge difference, whose square overflows, keeps its loss and gradient.
    - Calls that are not trained on do not move the moving average, see :class:`RegionState`.
    - Ignored elements have no effect even when they are infinite or NaN. Empty or entirely ignored input gives 0 that
      still carries a gradient.
    - Bad arguments, shapes and dtypes raise ValueError.
    - The gradient flows to the prediction alone and cannot be differentiated a second time.
    - ``mu="auto"`` and the arguments from ``max_weight`` on are additions.

    Args:
        mu: of ASL1, above 0, in the unit of the differences; or ``"auto"``, which is ``mu_factor`` times a running mean
            of abs(d) over the elements that count, so that the gradient norms spread over [0, 1] whatever the scale of
            the differences. The mean is the buffer ``mean_difference``: M <- 0.99 M + 0.01 mean(abs(d)), from the first
            call's mean on.
        bins: number of unit regions, at least 1.
        momentum: of the moving average of the counts, in [0, 1). ``None`` is 0.7, with ``density="exact"`` 0.
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        max_weight: upper bound of the harmonizing weight, above 0, or ``None``.
        debias: whether to correct the start of the moving average.
        density: ``"region"``, or ``"exact"`` for the paper's definition without unit regions, which has no moving
            average.
        sync: whether the samples of all ranks count; every rank must then call the loss.
        compile: has no effect any more. It is accepted for configs of earlier versions, in which it chose the fast form
            of the loss; now that is the only one.
        normalize: ``None``, the released form, or ``"avg_factor"``: weights of mean 1, and the sum divided by the
            head's ``avg_factor`` as in mmdet's other losses.
        average: what the moving average is of: ``"counts"``, as in released models, or ``"shares"`` of the call's
            total, which is right where calls of different size share a loss, such as the levels of one head.
        power: of the weights, in [0, 1], 0 making all of them 1. An attribute that a hook may set in training.
        anneal_calls: the number of training calls over which the power falls from ``power`` to 0, in a straight line;
            how far it is, is kept in checkpoints. ``None`` leaves it at ``power``.
        scale_by_weight: whether the loss of an element is also multiplied by the size of its weight.
        mu_factor: with ``mu="auto"``, what the running mean is multiplied by, above 0.
        backend: of ``ghm_mmdet.ops``, ``"reference"``, ``"cpu"`` or ``"triton"``; ``None`` takes the fastest that is
            there for the device.

    Raises:
        ValueError: an argument is out of its range.
    """

    mean_difference: Tensor | None

    def __init__(
        self,
        mu: float | str = 0.02,
        bins: int = 10,
        momentum: float | None = None,
        loss_weight: float = 1.0,
        reduction: str = "mean",
        max_weight: float | None = None,
        debias: bool = False,
        density: str = "region",
        sync: bool = False,
        compile: bool = False,
        normalize: str | None = None,
        average: str = "counts",
        power: float = 1.0,
        anneal_calls: int | None = None,
        scale_by_weight: bool = False,
        mu_factor: float = 1.0,
        backend: str | None = None,
    ):
        super().__init__(
            bins=bins,
            last_edge=1e3,  # mmdet's
            momentum=(0.0 if density == "exact" else 0.7) if momentum is None else momentum,
            loss_weight=loss_weight,
            reduction=reduction,
            max_weight=max_weight,
            debias=debias,
            density=density,
            sync=sync,
            compile=compile,
            normalize=normalize,
            average=average,
            power=power,
            anneal_calls=anneal_calls,
            scale_by_weight=scale_by_weight,
            backend=backend,
        )
        checks.check_choice("normalize", normalize, (None, "avg_factor"))
        if isinstance(mu, str) and mu != "auto":
            raise ValueError(f"mu must be a number above 0 or 'auto', got {mu!r}")
        if not isinstance(mu, str):
            checks.check_positive("mu", mu)
        checks.check_positive("mu_factor", mu_factor)
        self.mu = mu
        self.mu_factor = mu_factor
        self.register_buffer("mean_difference", torch.zeros((), dtype=torch.float32) if mu == "auto" else None)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        label_weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            pred: shape (N, 4).
            target: shape (N, 4).
            label_weight: shape (N,), (N, 4) or flat; elements above 0 count, their sum is what the mean divides by.
            avg_factor: what ``normalize="avg_factor"`` divides by; without it it has no effect, as in mmdet's.
            reduction_override: takes the place of ``reduction``.
            weight: another name of ``label_weight``, the one of mmdet's other losses.

        Raises:
            ValueError: shapes, dtypes or devices do not fit together, or the reduction is unknown.
        """
        weight = self._one_weight(label_weight, weight)
        mu = self._auto_mu(pred, target, weight, reduction_override) if self.mu == "auto" else self.mu
        return self._loss(ghm_r_loss, pred, target, weight, reduction=reduction_override, avg_factor=avg_factor, mu=mu)

    def _auto_mu(self, pred: Tensor, target: Tensor, weight: Tensor | None, reduction: str | None) -> Tensor:
        """The mu of this call; moves the running mean."""
        average, mean = self.mean_difference, mean_difference(pred, target, weight, self.sync)
        assert average is not None
        moved = torch.where(average > 0, torch.lerp(average, torch.where(mean > 0, mean, average), 0.01), mean)
        if self._trains(reduction):
            average.copy_(moved)
        # Where there has been no difference yet, any mu does.
        return self.mu_factor * moved.clamp(min=1e-6)

    def extra_repr(self) -> str:
        return f"mu={self.mu!r}, mu_factor={self.mu_factor}, {super().extra_repr()}"
