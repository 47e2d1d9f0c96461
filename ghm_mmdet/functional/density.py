"""How dense the samples lie along the axis of gradient norms, and what each therefore weighs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor

from ghm_mmdet.functional import checks
from ghm_mmdet.functional.harmonizing_weight import harmonizing_weight


@dataclass(frozen=True)
class Density:
    """Where the harmonizing weights come from; the arguments that GHM-C and GHM-R share.

    Args:
        bins: number of unit regions M; the exact density looks at windows 1 / M wide.
        momentum: of the moving average of the counts.
        acc_sum: the moving average, shape (bins,), updated in place.
        acc_norm: its correction, shape (bins,), updated in place.
        max_weight: upper bound of the weights.
        kind: ``"region"`` or ``"exact"``.
        sync: whether the samples of all ranks count.
    """

    bins: int
    momentum: float = 0.0
    acc_sum: Tensor | None = None
    acc_norm: Tensor | None = None
    max_weight: float | None = None
    kind: str = "region"
    sync: bool = False

    def check(self, pred: Tensor) -> None:
        """Raise ValueError where an argument is out of its range, or does not fit the prediction or the others."""
        checks.check_density_arguments(self.bins, self.momentum, self.max_weight, self.kind, self.sync)
        averages = {}
        if self.momentum > 0:
            averages["acc_sum"] = self.acc_sum
            if self.acc_norm is not None:
                averages["acc_norm"] = self.acc_norm
        for name, average in averages.items():
            if not isinstance(average, Tensor) or average.shape != (self.bins,) or not average.is_floating_point():
                raise ValueError(
                    f"{name} must be a floating-point tensor of shape ({self.bins},), one entry per bin, "
                    f"got {checks.describe(average)}"
                )
            checks.check_same_device(name, average, pred)

    @property
    def ranks(self) -> int:
        """Number of processes whose samples count."""
        if self.sync and torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_world_size()
        return 1

    def over_ranks(self, count: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """Sum counts and total over the ranks, in one all-reduce."""
        if self.ranks == 1:
            return count, total
        # float64 holds every count up to 2^53.
        both = torch.cat([count.double(), total.double().view(1)])
        torch.distributed.all_reduce(both)
        return both[:-1], both[-1]

    def region_weight(self, count: Tensor, total: Tensor) -> Tensor:
        """Harmonizing weight of each unit region, shape (bins,); moves the moving average."""
        return harmonizing_weight(
            count,
            total,
            momentum=self.momentum,
            acc_sum=self.acc_sum,
            acc_norm=self.acc_norm,
            max_weight=self.max_weight,
        )
