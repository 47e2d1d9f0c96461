"""What the GHM losses keep between calls: the edges of the unit regions and the moving average of their counts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ghm_mmdet.functional import checks
from ghm_mmdet.losses.compiled import compiled


class RegionState(nn.Module):
    """Base of the GHM losses: their common arguments and buffers.

    The buffers bear the names and shapes of mmdet's, so that released checkpoints load: ``edges`` (bins + 1), kept for
    that alone, and ``acc_sum`` (bins), present when ``momentum`` is above 0. With ``debias`` there is ``acc_norm``
    (bins) as well; a checkpoint without it loads all the same, its moving averages taken as run in.

    Args:
        bins: number of unit regions, at least 1.
        last_edge: the upper end of the last region in ``edges``, mmdet's way of letting it hold everything.
        momentum: of the moving average of the counts, in [0, 1).
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        max_weight: upper bound of the harmonizing weight, above 0, or ``None``.
        debias: whether to correct the start of the moving average.
        density: ``"region"`` or ``"exact"``.
        sync: whether the samples of all ranks count.
        compile: whether to run the loss as one graph of torch.compile, on a CPU with operators in C++ that are compiled
            on their first use; where there is no compiler, a warning says so once and the loss runs uncompiled.

    Raises:
        ValueError: an argument is out of its range.
    """

    acc_sum: Tensor | None
    acc_norm: Tensor | None

    def __init__(
        self,
        *,
        bins: int,
        last_edge: float,
        momentum: float,
        loss_weight: float,
        reduction: str,
        max_weight: float | None,
        debias: bool,
        density: str,
        sync: bool,
        compile: bool,
    ):
        super().__init__()
        checks.check_density_arguments(bins, momentum, max_weight, density, sync)
        checks.check_loss_weight(loss_weight)
        checks.check_reduction(reduction)
        self.bins = bins
        self.momentum = momentum
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.max_weight = max_weight
        self.density = density
        self.sync = sync
        # Not self.compile, which is a method of every module.
        self.compiles = compile
        edges = torch.arange(bins + 1, dtype=torch.float32) / bins
        edges[-1] = last_edge
        self.register_buffer("edges", edges)
        self.register_buffer("acc_sum", torch.zeros(bins) if momentum > 0 else None)
        self.register_buffer("acc_norm", torch.zeros(bins) if momentum > 0 and debias else None)

    def _loss(
        self, function: Callable[..., Tensor], *inputs: Tensor | None, reduction: str | None, **options
    ) -> Tensor:
        """``function`` of the inputs with this module's arguments and state."""
        if reduction is None:
            reduction = self.reduction
        else:
            checks.check_reduction(reduction, "reduction_override")
        run = compiled(function) if self.compiles else function
        loss = run(
            *inputs,
            bins=self.bins,
            momentum=self.momentum,
            acc_sum=self.acc_sum,
            acc_norm=self.acc_norm,
            max_weight=self.max_weight,
            density=self.density,
            sync=self.sync,
            reduction=reduction,
            **options,
        )
        return self.loss_weight * loss

    def _apply(self, fn, recurse: bool = True):
        # Counts run into the millions: .half() and .bfloat16() of a model must not round the buffers.
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            after = self._buffers[name]
            if buffer is not None and after is not None and after.dtype in (torch.float16, torch.bfloat16):
                self._buffers[name] = buffer.to(after.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
        acc_sum = state_dict.get(prefix + "acc_sum")
        if self.acc_norm is not None and acc_sum is not None:
            state_dict.setdefault(prefix + "acc_norm", (acc_sum > 0).to(self.acc_norm.dtype))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return (
            f"bins={self.bins}, momentum={self.momentum}, loss_weight={self.loss_weight}, "
            f"reduction={self.reduction!r}, max_weight={self.max_weight}, debias={self.acc_norm is not None}, "
            f"density={self.density!r}, sync={self.sync}, compile={self.compiles}"
        )
