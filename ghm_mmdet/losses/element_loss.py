"""What the losses without state of their own have in common: weight, reduction and avg_factor in the way of mmdet's."""

from __future__ import annotations

from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor, nn

from ghm_mmdet.functional import checks
from ghm_mmdet.functional.harmonized_loss import as_rows
from ghm_mmdet.losses.known_arguments import refuse_unknown_arguments
from ghm_mmdet.losses.roi_channels import SigmoidRoIChannels


class ElementLoss(nn.Module):
    """Base of a loss that is a sum over elements; a subclass says what one element costs.

    What an element with weight 0 holds, be it infinite or NaN, has no effect. Empty or entirely ignored input gives 0
    that still carries a gradient.

    Args:
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, loss_weight: float, reduction: str):
        super().__init__()
        checks.check_not_negative("loss_weight", loss_weight)
        checks.check_reduction(reduction)
        self.loss_weight = loss_weight
        self.reduction = reduction
        refuse_unknown_arguments(self)

    def element_loss(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of each element, the shape of ``pred``."""
        raise NotImplementedError

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
            pred: prediction, shape (N, C), or any (..., C).
            target: as the function of this loss takes it.
            weight: factor on the loss, shape (N,), (N, 1) or that of ``pred``.
            avg_factor: what ``"mean"`` divides the sum by, in place of the number of elements.
            reduction_override: takes the place of ``reduction``.

        Raises:
            ValueError: shapes, dtypes or devices do not fit together, the reduction is unknown, or it is ``"sum"``
                together with an ``avg_factor``.
        """
        checks.check_prediction("pred", pred)
        weight = checks.rows_of_weight(weight, pred)
        if weight is None:
            loss = self.element_loss(pred, target)
        else:
            ignored = weight == 0
            # A weight of 0 does not silence an infinity or NaN by itself.
            pred_of_weight = as_rows(pred).masked_fill(ignored, 0).view(pred.shape)
            if isinstance(target, Tensor) and target.shape == pred.shape:
                target = as_rows(target).masked_fill(ignored, 0).view(pred.shape)
            loss = self.element_loss(pred_of_weight, target)
            loss = (as_rows(loss) * weight.to(loss.dtype)).view(pred.shape)
        return self._reduce(loss, avg_factor, reduction_override)

    def _reduce(self, loss: Tensor, avg_factor: float | Tensor | None, reduction_override: str | None) -> Tensor:
        reduction = self.reduction
        if reduction_override is not None:
            checks.check_reduction(reduction_override, "reduction_override")
            reduction = reduction_override
        if loss.numel() == 0 and reduction == "mean":
            # The mean of nothing would be NaN.
            return self.loss_weight * loss.sum()
        return self.loss_weight * weight_reduce_loss(loss, reduction=reduction, avg_factor=avg_factor)

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight}, reduction={self.reduction!r}"


class SigmoidElementLoss(SigmoidRoIChannels, ElementLoss):
    """Base of a classification loss with one sigmoid per class.

    Args:
        use_sigmoid: must be true. mmdet's heads read it from the config to decide on the number of logits, so write it
            there.
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, use_sigmoid: bool, loss_weight: float, reduction: str):
        super().__init__(loss_weight, reduction)
        if not use_sigmoid:
            name = type(self).__name__
            raise ValueError(f"use_sigmoid must be True, {name} is built on binary cross-entropy, got {use_sigmoid!r}")
        self.use_sigmoid = use_sigmoid
