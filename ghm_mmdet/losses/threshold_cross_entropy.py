"""Cross-entropy above a threshold of the gradient norm: the control for the robust form of GHM-C."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ghm_mmdet.functional import checks
from ghm_mmdet.functional.class_target import dense_target
from ghm_mmdet.losses.element_loss import SigmoidElementLoss
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class ThresholdCrossEntropyLoss(SigmoidElementLoss):
    r"""Binary cross-entropy that leaves out every element with a small gradient norm; no density.

    .. math::
        L = \frac{1}{A} \frac{\sum_i w_i BCE(x_i, t_i)}{\overline{w}_{+}}, \qquad
        w_i = [\,|\sigma(x_i) - t_i| \ge \theta\,]

    with A the ``avg_factor`` and :math:`\overline{w}_{+}` the mean of w over the positives (targets above 0), as
    ``normalize="positives"`` of GHMC has it. Use it to see what the density of GHM-C adds to a plain threshold.

    Args:
        threshold: :math:`\theta`, in [0, 1]; 1 / 30 is the first of 30 unit regions.
        use_sigmoid: must be true.
        loss_weight: factor on the loss, at least 0.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, threshold: float = 1 / 30, use_sigmoid: bool = True, loss_weight: float = 1.0):
        super().__init__(use_sigmoid, loss_weight, "mean")
        checks.check_fraction("threshold", threshold)
        self.threshold = threshold

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            pred: logits, shape (N, C).
            target: integer labels of shape (N,), or values in [0, 1] of shape (N, C).
            weight: shape (N,) or (N, C); elements above 0 count.
            avg_factor: A; the number of positives, at least 1, where it is not given.
            reduction_override: must be ``None`` or ``"mean"``.

        Raises:
            ValueError: shapes do not fit together, or another reduction is asked for.
        """
        if reduction_override not in (None, "mean"):
            raise ValueError(f"reduction_override must be None or 'mean', got {reduction_override!r}")
        checks.check_prediction("pred", pred)
        checks.check_class_target(target, pred)
        rows = checks.rows_of_weight(weight, pred)
        target = dense_target(target, pred)
        with torch.no_grad():
            valid = torch.ones_like(target) if rows is None else (rows > 0).to(target.dtype).expand_as(target)
            kept = ((pred.sigmoid() - target).abs() >= self.threshold) * valid
            positive = (target > 0) * valid
            if positive.any():
                kept = kept * (positive.sum() / (kept * positive).sum().clamp(min=1e-9))
            else:
                kept = kept * (valid.sum() / kept.sum().clamp(min=1e-9)).clamp(max=1)
        loss = binary_cross_entropy_with_logits(pred.to(target.dtype), target, reduction="none") * kept
        return self.loss_weight * loss.sum() / (positive.sum().clamp(min=1) if avg_factor is None else avg_factor)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, {super().extra_repr()}"
