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
    - ``use_sigmoid=False`` gives the softmax form, where mmdet's raises.
    - Targets may be soft, anything in [0, 1]; the last region has no upper edge.
    - ``density="exact"``, ``sync`` across ranks and ``compile`` are additions.
    - ``max_weight`` bounds the harmonizing weight, ``debias`` corrects the start of the moving average, whose first
      weights are 1 / (1 - momentum) times too large otherwise.
    - Ignored elements have no effect even when they are infinite or NaN. Empty or entirely ignored input gives 0 that
      still carries a gradient.
    - Bad arguments, shapes and dtypes raise ValueError.
    - The gradient cannot be differentiated a second time.

    Args:
        bins: number of unit regions, at least 1.
        momentum: of the moving average of the counts, in [0, 1).
        use_sigmoid: whether each logit is a classification of its own; otherwise softmax over the classes and the
            background. mmdet's heads read it from the config to decide on the number of logits, so write it there.
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        max_weight: upper bound of the harmonizing weight, above 0, or ``None``.
        debias: whether to correct the start of the moving average.
        density: ``"region"``, or ``"exact"`` for the paper's definition without unit regions, which has no moving
            average.
        sync: whether the samples of all ranks count; every rank must then call the loss.
        compile: whether to run the loss as one graph of torch.compile.

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
        density: str = "region",
        sync: bool = False,
        compile: bool = False,
    ):
        # mmdet's last edge, in float32.
        super().__init__(
            bins=bins,
            last_edge=1 + 1e-6,
            momentum=momentum,
            loss_weight=loss_weight,
            reduction=reduction,
            max_weight=max_weight,
            debias=debias,
            density=density,
            sync=sync,
            compile=compile,
        )
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
            pred: logits, shape (N, C); with softmax C counts the background.
            target: integer labels of shape (N,), or values in [0, 1] of shape (N, C). Background is C, with softmax
                C - 1 as the last class.
            label_weight: shape (N,) or, with sigmoid, (N, C); elements above 0 count.
            reduction_override: takes the place of ``reduction``.
            avg_factor: has no effect, as in mmdet's; GHM-C divides by its own count of valid elements.

        Raises:
            ValueError: shapes, dtypes or devices do not fit together, or the reduction is unknown.
        """
        return self._loss(
            ghm_c_loss, pred, target, label_weight, reduction=reduction_override, use_sigmoid=self.use_sigmoid
        )
