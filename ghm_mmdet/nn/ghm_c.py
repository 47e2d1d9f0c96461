"""GHM-C as a module."""

from __future__ import annotations

from torch import Tensor

from ..functional import checks, ghm_c_loss
from ..functional.probability import logits_of_probabilities
from .region_state import RegionState


class GHMC(RegionState):
    """Gradient harmonizing classification loss; see :func:`ghm_mmdet.functional.ghm_c_loss` for the formula.

    With the arguments that mmdet's GHMC has, value, gradient and state are those of mmdet's. What differs:

    - ``bins`` and ``momentum`` are the published 30 and 0.75 by default, where mmdet has 10 and 0.
    - The weight may be left out, is also called ``weight``, and may have one entry per sample or per logit whatever
      form the target has.
    - ``reduction="sum"`` works, where mmdet's raises: it is the sum of the weighted elements, N times the mean.
    - Half and bfloat16 logits are computed in float32 and give a float32 loss, and ``.half()`` leaves the buffers in
      float32. mmdet's last edge rounds to 1 there, and a saturated wrong prediction loses its loss.
    - ``use_sigmoid=False`` gives the softmax form, where mmdet's raises.
    - Targets may be soft, anything in [0, 1], or a pair of labels and scores; the last region has no upper edge.
    - Calls that are not trained on do not move the moving average, see :class:`RegionState`.
    - Ignored elements have no effect even when they are infinite or NaN. Empty or entirely ignored input gives 0 that
      still carries a gradient.
    - Bad arguments, shapes and dtypes raise ValueError.
    - The gradient cannot be differentiated a second time.
    - The arguments from ``max_weight`` on are additions.

    Args:
        bins: number of unit regions, at least 1.
        momentum: of the moving average of the counts, in [0, 1). ``None`` is 0.75, with ``density="exact"`` 0.
        use_sigmoid: whether each logit is a classification of its own; otherwise softmax over the classes and the
            background. mmdet's heads read it from the config to decide on the number of logits, so write it there.
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        max_weight: upper bound of the harmonizing weight, above 0, or ``None``.
        debias: whether to correct the start of the moving average.
        density: ``"region"``, or ``"exact"`` for the paper's definition without unit regions, which has no moving
            average.
        sync: whether the samples of all ranks count; every rank must then call the loss.
        compile: has no effect any more. It is accepted for configs of earlier versions, in which it chose the fast form
            of the loss; now that is the only one.
        normalize: ``None``, the released form; ``"avg_factor"``: weights of mean 1, and the sum divided by the head's
            ``avg_factor`` as in mmdet's other losses, which are then replaced at their own loss weight;
            ``"positives"``: the same with weights of mean 1 over the positives.
        average: what the moving average is of: ``"counts"``, as in released models, or ``"shares"`` of the call's
            total, which is right where calls of different size share a loss, such as the levels of one head.
        power: of the weights, in [0, 1], 0 making all of them 1. An attribute that a hook may set in training.
        anneal_calls: the number of training calls over which the power falls from ``power`` to 0, in a straight line;
            how far it is, is kept in checkpoints. ``None`` leaves it at ``power``.
        scale_by_weight: whether the loss of an element is also multiplied by the size of its weight.
        activated: whether predictions are probabilities already, after the sigmoid.
        backend: of ``ghm_mmdet.ops``, ``"reference"``, ``"cpu"`` or ``"triton"``; ``None`` takes the fastest that is
            there for the device.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        bins: int = 30,
        momentum: float | None = None,
        use_sigmoid: bool = True,
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
        activated: bool = False,
        backend: str | None = None,
    ):
        super().__init__(
            bins=bins,
            last_edge=1 + 1e-6,  # mmdet's, in float32
            momentum=(0.0 if density == "exact" else 0.75) if momentum is None else momentum,
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
        checks.check_choice("normalize", normalize, (None, "avg_factor", "positives"))
        if activated and not use_sigmoid:
            raise ValueError("activated=True is for sigmoids: a softmax cannot be taken back, use activated=False")
        self.use_sigmoid = use_sigmoid
        self.activated = activated

    def forward(
        self,
        pred: Tensor,
        target: Tensor | tuple[Tensor, Tensor],
        label_weight: Tensor | None = None,
        reduction_override: str | None = None,
        avg_factor: float | Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            pred: logits, shape (N, C); with softmax C counts the background.
            target: integer labels of shape (N,), or values in [0, 1] of shape (N, C), or a pair of labels and scores of
                shape (N,). Background is C, with softmax C - 1 as the last class.
            label_weight: shape (N,) or, with sigmoid, (N, C) or flat; elements above 0 count.
            reduction_override: takes the place of ``reduction``.
            avg_factor: what ``normalize`` divides by. Without ``normalize`` it has no effect, as in mmdet's: GHM-C
                divides by its own count of valid elements.
            weight: another name of ``label_weight``, the one of mmdet's other losses.

        Raises:
            ValueError: shapes, dtypes or devices do not fit together, or the reduction is unknown.
        """
        weight = self._one_weight(label_weight, weight)
        if self.activated:
            pred = logits_of_probabilities(pred, weight)
        return self._loss(
            ghm_c_loss,
            pred,
            target,
            weight,
            reduction=reduction_override,
            avg_factor=avg_factor,
            use_sigmoid=self.use_sigmoid,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, use_sigmoid={self.use_sigmoid}, activated={self.activated}"
