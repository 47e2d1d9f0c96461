"""What the GHM losses keep between calls: the edges of the unit regions and the moving average of their counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .. import ops
from ..functional import checks


class RegionState(nn.Module):
    """Base of the GHM losses: their common arguments and buffers.

    The buffers bear the names and shapes of mmdet's, so that released checkpoints load: ``edges`` (bins + 1), kept for
    that alone, and ``acc_sum`` (bins), present when ``momentum`` is above 0; where it averages shares it is called
    ``acc_share``. With ``debias`` there is ``acc_norm`` (bins) as well; a checkpoint without it loads all the same, its
    moving averages taken as run in. With ``anneal_calls`` there is ``calls``. All are float32 whatever the dtype of the
    model, and whatever torch's default is.

    A call that is not trained on leaves them alone: under ``no_grad``, in eval mode, and with ``reduction="none"``, by
    which samplers and assigners ask for the losses. (A head under torch's gradient checkpointing without reentry calls
    its losses twice in training, and the average moves twice.)
    """

    edges: Tensor
    acc_norm: Tensor | None
    calls: Tensor | None

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
        normalize: str | None,
        average: str,
        power: float,
        anneal_calls: int | None,
        scale_by_weight: bool,
        backend: str | None,
    ):
        super().__init__()
        checks.check_density_arguments(bins, momentum, max_weight, density, sync)
        checks.check_not_negative("loss_weight", loss_weight)
        checks.check_reduction(reduction)
        checks.check_choice("average", average, ("counts", "shares"))
        checks.check_choice("backend", backend, (None, *ops.BACKENDS))
        checks.check_fraction("power", power)
        if anneal_calls is not None:
            checks.check_count("anneal_calls", anneal_calls)
        self.bins = bins
        self.momentum = momentum
        self.loss_weight = loss_weight
        self.reduction = reduction
        self.max_weight = max_weight
        self.density = density
        self.sync = sync
        # Not self.compile, which is a method of every module.
        self.compiles = compile
        self.normalize = normalize
        self.average = average
        self.power = power
        self.anneal_calls = anneal_calls
        self.scale_by_weight = scale_by_weight
        self.backend = backend
        edges = torch.arange(bins + 1, dtype=torch.float32) / bins
        edges[-1] = last_edge
        self.register_buffer("edges", edges)
        self._average_name = "acc_sum" if average == "counts" else "acc_share"
        zeros = torch.zeros(bins, dtype=torch.float32)
        self.register_buffer(self._average_name, zeros if momentum > 0 else None)
        self.register_buffer("acc_norm", zeros.clone() if momentum > 0 and debias else None)
        self.register_buffer("calls", torch.zeros((), dtype=torch.float32) if anneal_calls is not None else None)
        self._built()

    def _built(self) -> None:
        """Called once the common arguments are there."""

    def _loss(
        self,
        function: Callable[..., Tensor],
        *inputs: Tensor | tuple[Tensor, Tensor] | None,
        reduction: str | None,
        **options: Any,
    ) -> Tensor:
        """``function`` of the inputs with this module's arguments and state."""
        if reduction is None:
            reduction = self.reduction
        else:
            checks.check_reduction(reduction, "reduction_override")
        loss = function(
            *inputs,
            bins=self.bins,
            momentum=self.momentum,
            acc_sum=self._buffers[self._average_name],
            acc_norm=self.acc_norm,
            average=self.average,
            update_average=self._trains(reduction),
            max_weight=self.max_weight,
            power=self._annealed_power(reduction),
            normalize=self.normalize,
            scale_by_weight=self.scale_by_weight,
            density=self.density,
            sync=self.sync,
            reduction=reduction,
            backend=self.backend,
            **options,
        )
        return loss if self.loss_weight == 1 else self.loss_weight * loss

    def _trains(self, reduction: str | None) -> bool:
        """Whether a call is one that the state moves with."""
        return self.training and torch.is_grad_enabled() and (reduction or self.reduction) != "none"

    def _annealed_power(self, reduction: str) -> float | Tensor:
        if self.calls is None:
            return self.power
        power = self.power * (1 - self.calls / (self.anneal_calls or 1)).clamp(min=0)
        if self._trains(reduction):
            self.calls.add_(1)
        return power

    @staticmethod
    def _one_weight(label_weight: Tensor | None, weight: Tensor | None) -> Tensor | None:
        """The weight, by whichever of its two names it came."""
        if label_weight is not None and weight is not None:
            raise ValueError("weight and label_weight are two names of one argument: give one of them")
        return label_weight if weight is None else weight

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # Counts run into the millions: .half() and .bfloat16() of a model must not round the buffers.
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            after = self._buffers[name]
            if buffer is not None and after is not None and after.dtype != buffer.dtype:
                self._buffers[name] = buffer.to(after.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        average = state_dict.get(prefix + self._average_name)
        if self.acc_norm is not None and average is not None:
            state_dict.setdefault(prefix + "acc_norm", (average > 0).to(self.acc_norm.dtype))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        names = "bins momentum loss_weight reduction max_weight density sync normalize average power anneal_calls"
        arguments = [f"{name}={getattr(self, name)!r}" for name in [*names.split(), "scale_by_weight", "backend"]]
        return ", ".join([*arguments, f"debias={self.acc_norm is not None}", f"compile={self.compiles}"])
