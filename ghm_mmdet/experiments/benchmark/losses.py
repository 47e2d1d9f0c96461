"""Forward and backward of the classification and regression losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.losses import GHMC as MMDetGHMC
from mmdet.models.losses import GHMR as MMDetGHMR
from mmdet.models.losses import FocalLoss
from torch import Tensor

from ghm_mmdet.experiments.benchmark.measure import interleaved_seconds, peak_extra_bytes, spread
from ghm_mmdet.losses import GHMC, GHMR

BASELINE = "BCE, one-hot given"
MMDET = "mmdet GHMC"
MMDET_REGRESSION = "mmdet GHMR"


@dataclass(frozen=True)
class Case:
    """One group of losses that are timed in turn on the same input."""

    task: str
    samples: int
    channels: int
    bins: int

    @property
    def elements(self) -> int:
        return self.samples * self.channels


@dataclass(frozen=True)
class Row:
    """What was measured of one loss in one case; ``ratio`` is to the case's first loss, by medians."""

    loss: str
    task: str
    samples: int
    channels: int
    bins: int
    median: float
    lower_quartile: float
    upper_quartile: float
    peak_bytes: int
    ratio: float

    def as_dict(self) -> dict:
        return asdict(self)


def cases(sizes: list[int], bins: list[int], classes: int) -> list[Case]:
    """Every size with the first number of bins, then the other numbers of bins at 100,000 samples, then boxes."""
    found = [Case("classification", max(1, size // classes), classes, bins[0]) for size in sizes]
    found += [Case("classification", 100_000, classes, count) for count in bins[1:]]
    return [*found, Case("regression", 20_000, 4, 10)]


def classification_runs(case: Case, positives: float, device: torch.device) -> dict[str, Callable[[], object]]:
    """The classification losses on logits as of a detector in training, with integer labels, a share positive."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(case.samples, case.channels, generator=generator) * 2 - 4
    labels = torch.full((case.samples,), case.channels)
    count = max(1, round(positives * case.samples))
    chosen = torch.randperm(case.samples, generator=generator)[:count]
    labels[chosen] = torch.randint(case.channels, (count,), generator=generator)
    logits, labels = logits.to(device).requires_grad_(), labels.to(device)
    weight = torch.ones(case.samples, device=device)
    one_hot = (labels[:, None] == torch.arange(case.channels, device=device)).float()

    def gradient(loss: Callable[..., Tensor], *inputs: Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(logits, *inputs), logits)

    return {
        BASELINE: gradient(F.binary_cross_entropy_with_logits, one_hot),
        MMDET: gradient(MMDetGHMC(bins=case.bins).to(device), labels, weight),
        "GHMC": gradient(GHMC(bins=case.bins).to(device), labels, weight),
        "GHMC, compile": gradient(GHMC(bins=case.bins, compile=True).to(device), labels, weight),
        "GHMC, exact": gradient(GHMC(bins=case.bins, density="exact").to(device), labels, weight),
        "mmdet FocalLoss": gradient(FocalLoss().to(device), labels, weight),
    }


def regression_runs(case: Case, device: torch.device) -> dict[str, Callable[[], object]]:
    """The box losses on small differences with all weights 1."""
    generator = torch.Generator().manual_seed(0)
    pred = (torch.randn(case.samples, case.channels, generator=generator) * 0.1).to(device).requires_grad_()
    target, weight = torch.zeros_like(pred).detach(), torch.ones_like(pred).detach()

    def gradient(loss: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(pred, target, weight), pred)

    return {
        MMDET_REGRESSION: gradient(MMDetGHMR(bins=case.bins).to(device)),
        "GHMR": gradient(GHMR(bins=case.bins).to(device)),
        "GHMR, compile": gradient(GHMR(bins=case.bins, compile=True).to(device)),
        "GHMR, exact": gradient(GHMR(bins=case.bins, density="exact").to(device)),
    }


def measure(
    case: Case, rounds: int, positives: float, device: torch.device, progress: Callable[[], None]
) -> Iterator[Row]:
    """Measure one case; its first loss is the one that the ratios are to."""
    if case.task == "classification":
        runs = classification_runs(case, positives, device)
    else:
        runs = regression_runs(case, device)
    seconds = interleaved_seconds(runs, rounds, device, progress)
    base = spread(next(iter(seconds.values())))["median"]
    for loss, run in runs.items():
        times: dict[str, Any] = spread(seconds[loss])
        yield Row(
            loss=loss, **asdict(case), **times, peak_bytes=peak_extra_bytes(run, device), ratio=times["median"] / base
        )
