"""Reads gradient norms off the loss modules of a detector, from the arguments that they are called with."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mmdet.models import losses as mmdet_losses
from torch import Tensor, nn

from ghm_mmdet.errors import UserError
from ghm_mmdet.functional import checks
from ghm_mmdet.functional.class_target import soft_target
from ghm_mmdet.functional.gradient_histogram import Elements
from ghm_mmdet.functional.gradient_norm import classification_gradient_norm, regression_gradient_norm
from ghm_mmdet.functional.harmonized_loss import as_rows
from ghm_mmdet.losses import GHMR, ASL1Loss

# Functions of the difference of prediction and target, element by element.
REGRESSION = (
    GHMR,
    ASL1Loss,
    mmdet_losses.GHMR,
    mmdet_losses.SmoothL1Loss,
    mmdet_losses.L1Loss,
    mmdet_losses.BalancedL1Loss,
)


@dataclass(frozen=True)
class GradientNormReader:
    """Reads the gradient norms of a ``loss_cls`` of logits, or of a ``loss_bbox`` of the difference of two boxes.

    name: in the model, such as ``"bbox_head.loss_cls"``.
    bins: number of unit regions, the loss's own if it has them.
    mu: of authentic smooth L1, for regression; the loss's own if it has one.
    """

    name: str
    module: Any
    bins: int
    mu: float

    def __str__(self) -> str:
        return f"{self.name} ({type(self.module).__name__})"

    @property
    def kind(self) -> str:
        return "regression" if isinstance(self.module, REGRESSION) else "classification"

    @property
    def per_sample(self) -> bool:
        """Whether an element is a whole sample, as with a softmax."""
        return self.kind == "classification" and not self.module.use_sigmoid

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.module.forward)

    def prediction(self, args: Sequence, kwargs: Mapping) -> Tensor:
        """The tensor that a call of the module got its predictions in."""
        return next(iter(self._signature.bind(*args, **kwargs).arguments.values()))

    def with_own_prediction(self, args: Sequence, kwargs: Mapping) -> tuple[tuple, dict]:
        """The arguments of a call with a view of the prediction in its place."""
        bound = self._signature.bind(*args, **kwargs)
        name = next(iter(bound.arguments))
        if isinstance(bound.arguments[name], Tensor):
            bound.arguments[name] = bound.arguments[name].view_as(bound.arguments[name])
        return bound.args, bound.kwargs

    def elements(self, args: Sequence, kwargs: Mapping) -> Elements:
        """What a call of the module was about, without gradient.

        Raises:
            UserError: prediction, target and weight are not such as mmdet's losses take.
        """
        given = self._signature.bind(*args, **kwargs).arguments
        given = {name: value.detach() if isinstance(value, Tensor) else value for name, value in given.items()}
        pred, target = list(given.values())[:2]
        weight = given.get("weight", given.get("label_weight"))
        try:
            checks.check_prediction("prediction", pred)
            if isinstance(target, (tuple, list)) and len(target) == 2:
                target = soft_target(target[0], target[1], pred)
            if self.kind == "regression":
                checks.check_dense_target(target, pred, "prediction")
            else:
                checks.check_class_target(target, pred)
            weight = checks.rows_of_weight(weight, pred, per_sample=self.per_sample)
        except ValueError as error:
            raise UserError(f"the gradient norms of {self} cannot be read: {error}.") from error
        valid = None if weight is None else weight > 0
        labels = target.dim() < pred.dim()
        if labels and isinstance(self.module, mmdet_losses.CrossEntropyLoss):
            counted = ((target >= 0) & (target != self.module.ignore_index)).reshape(-1, 1)
            valid = counted if valid is None else valid & counted
        return Elements(as_rows(pred), target.flatten() if labels else as_rows(target), valid)

    def norm(self, pred: Tensor, target: Tensor) -> Tensor:
        """Gradient norm of each element, see :mod:`ghm_mmdet.functional.gradient_norm`."""
        if self.kind == "regression":
            return regression_gradient_norm(pred, target, self.mu)
        return classification_gradient_norm(pred, target, use_sigmoid=self.module.use_sigmoid)


def find_readable_losses(
    model: nn.Module, names: Sequence[str] | None, bins: int, mu: float
) -> tuple[list[GradientNormReader], list[str]]:
    """Find the losses of a detector that can be read.

    Args:
        model: the detector; its modules named ``loss_cls`` and ``loss_bbox``, in any part, are looked at.
        names: those to take, such as ``"rpn_head.loss_cls"``; ``None`` for all.
        bins: for losses without unit regions of their own.
        mu: for regression losses without one of their own.

    Returns:
        The losses, and a reason in words for each that was not taken.

    Raises:
        UserError: a loss of ``names`` does not exist or cannot be read, or none can.
    """
    modules = {
        name: module
        for name, module in model.named_modules()
        if name in (names or ()) or (names is None and name.rpartition(".")[2] in ("loss_cls", "loss_bbox"))
    }
    gone = [name for name in names or () if name not in modules]
    if gone:
        raise UserError(f"{type(model).__name__} has no module {gone[0]!r} to read gradient norms from.")
    reasons = {name: _why_not(module) for name, module in modules.items()}
    refused = [f"{n} ({type(modules[n]).__name__}): {reason}" for n, reason in reasons.items() if reason]
    if refused and (names is not None or len(refused) == len(modules)):
        raise UserError(f"no gradient norms in {refused[0]}.")
    if not modules:
        raise UserError(f"{type(model).__name__} has no loss_cls and no loss_bbox to read gradient norms from.")
    found = [
        GradientNormReader(name, module, getattr(module, "bins", bins), getattr(module, "mu", mu))
        for name, module in modules.items()
        if not reasons[name]
    ]
    return found, refused


def _why_not(module: nn.Module) -> str:
    """Why a loss cannot be read, or nothing."""
    if isinstance(module, REGRESSION):
        return ""
    if not isinstance(getattr(module, "use_sigmoid", None), bool):
        return "it is neither a classification with use_sigmoid nor a loss of the difference of two boxes"
    if isinstance(module, mmdet_losses.QualityFocalLoss):
        return "its targets are pairs of label and score"
    if getattr(module, "use_mask", False) or getattr(module, "activated", False):
        return "it does not get logits of classes"
    if getattr(module, "custom_cls_channels", False) and not module.use_sigmoid:
        return "its logits are not one softmax"
    return ""
