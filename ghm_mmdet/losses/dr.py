"""DR Loss as a registered loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ghm_mmdet.functional import checks, dr_loss
from ghm_mmdet.losses.known_arguments import refuse_unknown_arguments
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class DRLoss(nn.Module):
    """DR Loss, which ranks all positives above all negatives; see :func:`ghm_mmdet.functional.dr_loss`.

    A call ranks the samples it is given, all images together. mmdet's heads call once for each level of the feature
    pyramid: use ``density_scope="batch"`` (:class:`ghm_mmdet.heads.DensityScopeMixin`) to rank all levels together, as
    the released code does. There is no loss of one sample, so that no ``avg_factor`` divides it and samplers that score
    by ``reduction_override="none"`` cannot use it.

    Args:
        margin: how far the positives are to be above the negatives, finite.
        pos_lambda: above 0; the smaller, the more the lowest positive counts.
        neg_lambda: above 0; the smaller, the more the highest negative counts.
        slope: of the logistic loss, above 0.
        tau: factor on the loss, above 0.
        use_sigmoid: must be true. mmdet's heads read it from the config to decide on the number of logits, so write it
            there.
        loss_weight: another factor, at least 0.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        margin: float = 0.5,
        pos_lambda: float = 1.0,
        neg_lambda: float = 0.1 / math.log(3.5),
        slope: float = 6.0,
        tau: float = 4.0,
        use_sigmoid: bool = True,
        loss_weight: float = 1.0,
    ):
        super().__init__()
        if not use_sigmoid:
            raise ValueError(
                f"use_sigmoid must be True, DRLoss ranks probabilities of single classes, got {use_sigmoid!r}"
            )
        checks.check_not_negative("loss_weight", loss_weight)
        self.settings: dict[str, Any] = dict(
            margin=margin, pos_lambda=pos_lambda, neg_lambda=neg_lambda, slope=slope, tau=tau
        )
        dr_loss(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long), **self.settings)
        self.use_sigmoid = use_sigmoid
        self.loss_weight = loss_weight
        refuse_unknown_arguments(self)

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss, a scalar.

        Args:
            pred: logits, shape (N, C).
            target: integer labels, shape (N,), background being C.
            weight: a sample counts where it is above 0, its size has no effect; shape (N,) or (N, 1).
            avg_factor: has no effect.
            reduction_override: ``None``, ``"mean"`` or ``"sum"``, which are the same.

        Raises:
            ValueError: shapes or dtypes do not fit together, or the loss of each sample is asked for.
        """
        if reduction_override is not None:
            checks.check_reduction(reduction_override, "reduction_override")
        if reduction_override == "none":
            raise ValueError(
                "DRLoss has no loss of each sample, reduction_override='none': score with CrossEntropyLoss"
            )
        return self.loss_weight * dr_loss(pred, target, weight, **self.settings)

    def extra_repr(self) -> str:
        return ", ".join(
            f"{name}={value}" for name, value in {**self.settings, "loss_weight": self.loss_weight}.items()
        )
