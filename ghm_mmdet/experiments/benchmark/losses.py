"""Forward and backward of the classification and regression losses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ghm_mmdet.experiments.benchmark.measure import interleaved_seconds, peak_extra_bytes, spread
from ghm_mmdet.nn import GHMC, GHMR

COPY = "copy"


@dataclass(frozen=True)
class Case:
    """One group of losses that are timed in turn on the same input."""

    task: str
    samples: int
    channels: int
    bins: int
    dtype: str


@dataclass(frozen=True)
class Run:
    """Forward and backward of a loss on its inputs, of which the first is the prediction."""

    call: Callable[[], object]
    inputs: tuple[Tensor, ...]

    @property
    def bytes(self) -> int:
        """What must be moved: both passes read the inputs, and the second writes the gradient."""
        sizes = [value.numel() * value.element_size() for value in self.inputs]
        return 2 * sum(sizes) + sizes[0]


@dataclass(frozen=True)
class Row:
    """What was measured of one loss in one case.

    ``ratio`` is to the case's first loss, by medians; ``share_of_copy`` is the rate at which the bytes that must be
    moved were moved, as a share of the rate at which a copy of the prediction moves its own.
    """

    loss: str
    task: str
    samples: int
    channels: int
    bins: int
    dtype: str
    median: float
    lower_quartile: float
    upper_quartile: float
    peak_bytes: int
    ratio: float
    bytes: int
    share_of_copy: float

    def as_dict(self) -> dict:
        return asdict(self)


def cases(sizes: list[int], bins: list[int], classes: int, dtypes: list[str]) -> list[Case]:
    """Every size with the first number of bins, then the other numbers of bins at 100,000 samples, then boxes."""
    found = []
    for dtype in dtypes:
        found += [Case("classification", max(1, size // classes), classes, bins[0], dtype) for size in sizes]
        found += [Case("classification", 100_000, classes, count, dtype) for count in bins[1:]]
        found += [Case("regression", boxes, 4, 10, dtype) for boxes in (20_000, 512)]
    return found


def losses_of_mmdet() -> dict[str, Callable[..., Any]]:
    """Mmdet's own losses, where mmdet is installed."""
    if not find_spec("mmdet"):
        return {}
    from mmdet.models.losses import GHMC as MMDetGHMC
    from mmdet.models.losses import GHMR as MMDetGHMR
    from mmdet.models.losses import FocalLoss

    # The averages that ours have by default; mmdet's default is none.
    return {
        "GHMC": lambda bins: MMDetGHMC(bins=bins, momentum=0.75),
        "GHMR": lambda bins: MMDetGHMR(bins=bins, momentum=0.7),
        "FocalLoss": FocalLoss,
    }


def _run(loss: Callable[..., Tensor], *inputs: Tensor) -> Run:
    return Run(lambda: torch.autograd.grad(loss(*inputs), inputs[0]), inputs)


def classification_runs(case: Case, positives: float, device: torch.device) -> dict[str, Run]:
    """The classification losses on logits as of a detector in training.

    Labels are integers, a share of them positive, and 2 % of the samples are ignored.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(case.samples, case.channels, generator=generator) * 2 - 4
    labels = torch.full((case.samples,), case.channels)
    count = max(1, round(positives * case.samples))
    chosen = torch.randperm(case.samples, generator=generator)[:count]
    labels[chosen] = torch.randint(case.channels, (count,), generator=generator)
    weight = (torch.rand(case.samples, generator=generator) >= 0.02).float().to(device)
    logits, labels = logits.to(device, getattr(torch, case.dtype)).requires_grad_(), labels.to(device)
    one_hot = (labels[:, None] == torch.arange(case.channels, device=device)).to(logits.dtype)
    mmdet = losses_of_mmdet()
    inputs = logits, labels, weight
    runs = {
        "BCE, one-hot given": _run(F.binary_cross_entropy_with_logits, logits, one_hot, weight[:, None]),
        "GHMC": _run(GHMC(bins=case.bins).to(device), *inputs),
        "GHMC, reference": _run(GHMC(bins=case.bins, backend="reference").to(device), *inputs),
        "GHMC, exact": _run(GHMC(bins=case.bins, density="exact").to(device), *inputs),
    }
    if mmdet:
        if case.dtype == "float32":
            runs["mmdet GHMC"] = _run(mmdet["GHMC"](case.bins).to(device), *inputs)
        runs["mmdet FocalLoss"] = _run(mmdet["FocalLoss"]().to(device), *inputs)
    return runs


def regression_runs(case: Case, device: torch.device) -> dict[str, Run]:
    """The box losses on small differences with all weights 1."""
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(case.samples, case.channels, generator=generator) * 0.1
    pred = pred.to(device, getattr(torch, case.dtype)).requires_grad_()
    inputs = pred, torch.zeros_like(pred).detach(), torch.ones_like(pred).detach()
    runs = {
        "GHMR": _run(GHMR(bins=case.bins).to(device), *inputs),
        "GHMR, reference": _run(GHMR(bins=case.bins, backend="reference").to(device), *inputs),
        "GHMR, exact": _run(GHMR(bins=case.bins, density="exact").to(device), *inputs),
    }
    mmdet = losses_of_mmdet()
    if mmdet and case.dtype == "float32":
        runs = {"mmdet GHMR": _run(mmdet["GHMR"](case.bins).to(device), *inputs)} | runs
    return runs


def measure(
    case: Case, rounds: int, positives: float, device: torch.device, progress: Callable[[], None], clock: str
) -> Iterator[Row]:
    """Measure one case; its first loss is the one that the ratios are to."""
    if case.task == "classification":
        runs = classification_runs(case, positives, device)
    else:
        runs = regression_runs(case, device)
    source = next(iter(runs.values())).inputs[0].detach()
    copy = torch.empty_like(source)
    calls = {name: run.call for name, run in runs.items()} | {COPY: lambda: copy.copy_(source)}
    found = interleaved_seconds(calls, rounds, device, progress, clock)
    seconds = {name: spread(of_run) for name, of_run in found.items()}
    base = next(iter(seconds.values()))["median"]
    copied = 2 * source.numel() * source.element_size()
    rate = copied / seconds[COPY]["median"]
    for loss, call in calls.items():
        times: dict[str, Any] = seconds[loss]
        moved = runs[loss].bytes if loss in runs else copied
        yield Row(
            loss=loss,
            **asdict(case),
            **times,
            peak_bytes=peak_extra_bytes(call, device),
            ratio=times["median"] / base,
            bytes=moved,
            share_of_copy=moved / times["median"] / rate,
        )


def first_call_seconds(device: torch.device) -> float:
    """Forward and backward of GHM-C in a new process, after the imports and a first operation of the device."""
    script = (
        "import sys, time, torch\n"
        "from ghm_mmdet.nn import GHMC\n"
        "logits = torch.randn(1000, 80, device=sys.argv[1], requires_grad=True)\n"
        "labels, loss = torch.zeros(1000, dtype=torch.long, device=sys.argv[1]), GHMC().to(sys.argv[1])\n"
        "logits.sum().backward()\n"
        "began = time.perf_counter()\n"
        "loss(logits, labels).backward()\n"
        "logits.grad.sum().item()\n"
        "print(time.perf_counter() - began)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(device)], capture_output=True, text=True, check=True)
    return float(done.stdout)
