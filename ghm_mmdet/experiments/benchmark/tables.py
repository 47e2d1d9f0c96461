"""Tables, JSON and plots of what was measured."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy
import torch
from rich.console import Console
from rich.table import Table

from ghm_mmdet.experiments.benchmark.losses import COPY, Row

if TYPE_CHECKING:
    from ghm_mmdet.experiments.benchmark.step import StepRow

matplotlib.use("Agg")


def machine(device: torch.device) -> dict:
    """What the figures depend on besides the code."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name})",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "mmdet": version("mmdet") if find_spec("mmdet") else "none",
        # Of the last minute: what else the machine had to do.
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else "unknown",
    }


def describe(facts: dict) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def print_losses(rows: list[Row], facts: dict) -> None:
    table = Table(title="forward + backward, " + describe(facts))
    for heading in ("input", "bins", "loss", "ms", "quartiles", "extra MiB", "ratio", "must move MB", "of a copy"):
        table.add_column(heading, justify="left" if heading in ("input", "loss") else "right")
    previous = None
    for row in rows:
        case = (row.task, row.samples, row.channels, row.bins, row.dtype)
        if previous not in (None, case):
            table.add_section()
        previous = case
        table.add_row(
            f"{row.samples:,} x {row.channels} {row.dtype}",
            str(row.bins),
            row.loss,
            f"{row.median * 1e3:,.2f}",
            f"{row.lower_quartile * 1e3:,.2f} - {row.upper_quartile * 1e3:,.2f}",
            f"{row.peak_bytes / 2**20:,.1f}",
            f"{row.ratio:.2f}",
            f"{row.bytes / 1e6:,.1f}",
            f"{row.share_of_copy:.0%}",
        )
    Console(width=120).print(table)


@dataclass(frozen=True)
class Growth:
    """How the time of a loss grows with the number of elements N: as (N log N) to the power ``exponent``.

    Fitted to the medians by least squares of the logarithms; ``error`` is the largest distance of a median from the
    fit, as a share of it.
    """

    loss: str
    exponent: float
    error: float


def growths(rows: list[Row]) -> list[Growth]:
    """The growth of each classification loss that was measured at three sizes or more, at the first number of bins."""
    found = []
    for loss, points in _by_size(rows).items():
        points = [(elements, seconds) for elements, seconds in points if elements > 1]
        if len({elements for elements, _ in points}) >= 3:
            elements, seconds = numpy.array(points).T
            size, time = numpy.log(elements * numpy.log(elements)), numpy.log(seconds)
            exponent, offset = numpy.polyfit(size, time, 1)
            error = numpy.expm1(numpy.abs(time - exponent * size - offset)).max()
            found.append(Growth(loss, float(exponent), float(error)))
    return found


def _by_size(rows: list[Row]) -> dict[str, list[tuple[int, float]]]:
    """Number of elements and median seconds of each classification loss, at the first number of bins."""
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if (row.task, row.bins, row.dtype) == ("classification", rows[0].bins, rows[0].dtype) and row.loss != COPY:
            points.setdefault(row.loss, []).append((row.samples * row.channels, row.median))
    return {loss: sorted(found) for loss, found in points.items()}


def print_growths(rows: list[Row]) -> None:
    """Say for each loss how its time grows, where enough sizes were measured."""
    for growth in growths(rows):
        print(f"{growth.loss}: time ~ (N log N)^{growth.exponent:.2f}, medians within {growth.error:.0%} of it")


def print_steps(rows: list[StepRow], facts: dict) -> None:
    table = Table(title="training iteration, " + describe(facts))
    for heading in ("config", "median ms", "quartiles", "ratio"):
        table.add_column(heading, justify="left" if heading == "config" else "right")
    for row in rows:
        table.add_row(
            row.config,
            f"{row.median * 1e3:,.1f}",
            f"{row.lower_quartile * 1e3:,.1f} - {row.upper_quartile * 1e3:,.1f}",
            f"{row.ratio:.3f}",
        )
    Console(width=120).print(table)


def write_json(path: Path, rows: list[Row] | list[StepRow], facts: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": facts, "rows": [row.as_dict() for row in rows]}, indent=2) + "\n")


def plot_losses(path: Path, rows: list[Row], facts: dict) -> None:
    """Time over the number of elements, both logarithmic, with the first number of bins."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 5))
    exponents = {growth.loss: f" ~ (N log N)^{growth.exponent:.2f}" for growth in growths(rows)}
    for loss, points in _by_size(rows).items():
        axes.loglog(*zip(*points), marker="o", label=loss + exponents.get(loss, ""))
    axes.set(xlabel="elements (anchors x classes)", ylabel="seconds, forward + backward", title=describe(facts))
    axes.title.set_fontsize(8)
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
