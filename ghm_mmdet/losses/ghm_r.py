"""GHM-R as a registered loss."""

from __future__ import annotations

from torch import Tensor

from ghm_mmdet.functional import checks, ghm_r_loss
from ghm_mmdet.losses.region_state import RegionState
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class GHMR(RegionState):
    """Gradient harmonizing regression loss; see :func:`ghm_mmdet.functional.ghm_r_loss` for the formula.

    With the arguments that mmdet's GHMR has, value, gradient and state are those of mmdet's. What differs:

    - ``label_weight`` may be left out, and may have one entry per sample.
    - ``reduction="sum"`` works, where mmdet's raises: it is the sum of the weighted elements, N times the mean.
    - Half and bfloat16 predictions are computed in float32 and give a float32 loss, and ``.half()`` leaves the buffers
      in float32.
    - A huge difference, whose square overflows, keeps its loss and gradient.
    - ``density="exact"``, ``sync`` across ranks and ``compile`` are additions.
    - ``max_weight`` bounds the harmonizing weight, ``debias`` corrects the start of the moving average, whose first
      weights are 1 / (1 - momentum) times too large otherwise.
    - Ignored elements have no effect even when they are infinite or NaN. Empty or entirely ignored input gives 0 that
      still carries a gradient.
    - Bad arguments, shapes and dtypes raise ValueError.
    - The gradient flows to the prediction alone and cannot be differentiated a second time.

    Args:
        mu: of ASL1, above 0.
        bins: number of unit regions, at least 1.
        momentum: of the moving average of the counts, in [0, 1).
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
        mu: float = 0.02,
        bins: int = 10,
        momentum: float = 0,
        loss_weight: float = 1.0,
        reduction: str = "mean",
        max_weight: float | None = None,
        debias: bool = False,
        density: str = "region",
        sync: bool = False,
        compile: bool = False,
    ):
        # mmdet's last edge.
        super().__init__(
            bins=bins,
            last_edge=1e3,
            momentum=momentum,
            loss_weight=loss_weight,
            reduction=reduction,
            max_weight=max_weight,
            debias=debias,
            density=density,
            sync=sync,
            compile=compile,
        )
        checks.check_positive("mu", mu)
        self.mu = mu

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        label_weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            pred: shape (N, 4).
            target: shape (N, 4).
            label_weight: shape (N,) or (N, 4); elements above 0 count, their sum is what the mean divides by.
            avg_factor: has no effect, as in mmdet's.
            reduction_override: takes the place of ``reduction``.

        Raises:
            ValueError: shapes, dtypes or devices do not fit together, or the reduction is unknown.
        """
        return self._loss(ghm_r_loss, pred, target, label_weight, reduction=reduction_override, mu=self.mu)

    def extra_repr(self) -> str:
        return f"mu={self.mu}, {super().extra_repr()}"
