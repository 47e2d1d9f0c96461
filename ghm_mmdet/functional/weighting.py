"""How the elements of a GHM loss are weighted and what their sum is divided by: the arguments, and what follows."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed
from torch import Tensor

from . import checks
from .harmonizing_weight import bounded, harmonizing_weight, normalizing_factor


class Weighting(NamedTuple):
    """The arguments that GHM-C and GHM-R share; see :func:`ghm_mmdet.functional.ghm_c_loss`."""

    bins: int
    momentum: float
    acc_sum: Tensor | None
    acc_norm: Tensor | None
    average: str
    update_average: bool
    max_weight: float | None
    power: float | Tensor
    normalize: str | None
    avg_factor: float | Tensor | None
    scale_by_weight: bool
    density: str
    sync: bool
    reduction: str
    backend: str | None

    def check(self, pred: Tensor, forms: tuple[str | None, ...]) -> None:
        """Raise ValueError where an argument is out of its range, or does not fit the prediction or the others.

        ``forms`` are the values that ``normalize`` may have.
        """
        checks.check_density_arguments(self.bins, self.momentum, self.max_weight, self.density, self.sync)
        checks.check_reduction(self.reduction)
        checks.check_choice("normalize", self.normalize, forms)
        checks.check_choice("average", self.average, ("counts", "shares"))
        if not isinstance(self.power, Tensor):
            checks.check_fraction("power", self.power)
        if isinstance(self.avg_factor, Tensor) and self.avg_factor.numel() != 1:
            raise ValueError(f"avg_factor must be one number, got {checks.describe(self.avg_factor)}")
        if not isinstance(self.avg_factor, (Tensor, type(None))):
            checks.check_not_negative("avg_factor", self.avg_factor)
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

    def of_regions(self, count: Tensor, positive: Tensor, sum_of_weight: Tensor | None) -> Tensor:
        """Factor of the elements of each unit region, with which their sum is the loss; moves the moving average.

        Args:
            count: R, number of elements in each region, float64, shape (bins,).
            positive: number of those whose target is above 0, the same.
            sum_of_weight: N where it is not the number of elements.
        """
        total = count.sum() if sum_of_weight is None else sum_of_weight
        avg_factor = self.avg_factor
        if self.ranks > 1:
            own = avg_factor if isinstance(avg_factor, Tensor) else count.new_full((), avg_factor or 0)
            sums = torch.cat([count, positive, total.view(1), own.to(count).view(1)])
            torch.distributed.all_reduce(sums)
            count, positive, (total, of_ranks) = sums[: self.bins], sums[self.bins : -2], sums[-2:]
            avg_factor = None if avg_factor is None else of_ranks
        total = total.clamp(min=1)
        weight = harmonizing_weight(
            count,
            total,
            momentum=self.momentum,
            acc_sum=self.acc_sum,
            acc_norm=self.acc_norm,
            average=self.average,
            update_average=self.update_average,
            max_weight=self.max_weight,
            power=self.power,
        )
        return self._scaled(weight, count, positive, total, avg_factor)

    def of_elements(self, density: Tensor, valid: Tensor, positive: Tensor, sum_of_weight: Tensor | None) -> Tensor:
        """Factor of each element with the exact density given, as :meth:`of_regions`; the last three broadcast."""
        count = valid.to(density.dtype).expand_as(density)
        total = (count.sum() if sum_of_weight is None else sum_of_weight).clamp(min=1)
        # The density of what does not count has no meaning, and a product with 0 would not silence it.
        weight = torch.where(valid, bounded(total / density, self.max_weight, self.power), 0.0)
        return self._scaled(weight, count, positive * count, total, self.avg_factor)

    def _scaled(
        self, weight: Tensor, count: Tensor, positive: Tensor, total: Tensor, avg_factor: float | Tensor | None
    ) -> Tensor:
        """The weights multiplied by what normalization and reduction multiply all of them by."""
        divisor: float | Tensor = total
        if self.normalize is not None:
            weight = weight * normalizing_factor(weight, count, positive, self.normalize)
            if avg_factor is None:
                divisor = (positive if self.normalize == "positives" else count).sum().clamp(min=1)
            else:
                # As mmdet's losses divide.
                divisor = avg_factor + torch.finfo(torch.float32).eps
        if self.reduction == "mean":
            weight = weight / divisor
        return weight * self.ranks if self.ranks > 1 and self.reduction != "none" else weight
