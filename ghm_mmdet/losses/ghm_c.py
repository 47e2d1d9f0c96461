"""GHM-C as a registered loss."""

from __future__ import annotations

from torch import Tensor

from ghm_mmdet.functional import ghm_c_loss
from ghm_mmdet.losses.region_state import RegionState
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class GHMC(RegionState):
    """Gradient harmonizing classification loss; see :func:`ghm_mmdet.functional.ghm_c_loss` for the formula.

    With the arguments that mmdet's GHMC has, value, gradient and state are those of mmdet's. What differs:

    - ``label_weight`` may be left out, and may have one entry per sample or per logit whatever form the target has.
    - ``reduction="sum"`` works, where mmdet's raises: it is the sum of the weighted elements, N times the mean.
    - Half and bfloat16 logits are computed in float32 and give a float32 loss, and ``.half()`` leaves the buffers in
      float32. mmdet's last edge rounds to 1 there, and a saturated wrong prediction loses its loss.
    - Targets may be soft, anything in [0, 1]; the last region has no upper edge.
    - ``max_weight`` bounds the harmonizing weight, ``debias`` corrects the start of the moving average, whose first
      weights are 1 / (1 - momentum) times too large otherwise.
    - Ignored elements have no effect even when they are infinite or NaN. Empty or entirely ignored input gives 0 that
      still carries a gradient.
    - Bad arguments, shapes and dtypes raise ValueError.
    - The gradient cannot be differentiated a second time.

    Args:
        bins: number of unit regions, at least 1.
        momentum: of the moving average of the counts, in [0, 1).
        use_sigmoid: must be true. mmdet's heads read it from the config to decide on the number of logits, so write it
            there.
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        max_weight: upper bound of the harmonizing weight, above 0, or ``None``.
        debias: whether to correct the start of the moving average.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        bins: int = 10,
        momentum: float = 0,
        use_sigmoid: bool = True,
        loss_weight: float = 1.0,
        reduction: str = "mean",
        max_weight: float | None = None,
        debias: bool = False,
    ):
        # mmdet's last edge, in float32.
        super().__init__(bins, 1 + 1e-6, momentum, loss_weight, reduction, max_weight, debias)
        if not use_sigmoid:
            raise ValueError(f"use_sigmoid must be True, GHMC is built on binary cross-entropy, got {use_sigmoid!r}")
        self.use_sigmoid = use_sigmoid

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        label_weight: Tensor | None = None,
        reduction_override: str | None = None,
        avg_factor: float | Tensor | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            pred: logits, shape (N, C).
            target: integer labels of shape (N,), background being C, or values in [0, 1] of shape (N, C).
            label_weight: shape (N,) or (N, C); elements above 0 count.
            reduction_override: takes the place of ``reduction``.
            avg_factor: has no effect, as in mmdet's; GHM-C divides by its own count of valid elements.

        Raises:
            ValueError: shapes, dtypes or devices do not fit together, or the reduction is unknown.
        """
        reduction = self._reduction(reduction_override)
        loss = ghm_c_loss(pred, target, label_weight, reduction=reduction, **self._density_arguments())
        return self.loss_weight * loss
