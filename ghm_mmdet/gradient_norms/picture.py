"""Pictures of what GradientNormHook records: of one iteration, a strip over the training, an animation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ghm_mmdet.gradient_norms.log import LossRecord, Record

SAMPLES, GRADIENT, WEIGHT = "#b8bec6", "#c8372d", "#1f5fa8"
NORM = {"classification": "gradient norm |p - t|", "regression": "gradient norm |d| / √(d² + μ²)"}
PICTURES_IN_STRIP = 6
FRAMES = 80
FRAMES_PER_SECOND = 8

Limits = dict[str, tuple[tuple[float, float], tuple[float, float]]]


def limits_of(records: Iterable[Record]) -> Limits:
    """For each loss the range of shares, and that of weights, so that pictures of several iterations compare."""
    shares: dict[str, list[float]] = {}
    weights: dict[str, list[float]] = {}
    for record in records:
        for name, loss in record.losses.items():
            shares.setdefault(name, [1.0]).extend(v for v in (*_of_samples(loss), *loss.share) if v > 0)
            weights.setdefault(name, [1.0]).extend(v for v in loss.weight if v > 0)
    return {
        name: ((max(min(shares[name]) / 2, 1e-8), 1.6), (min(weights[name]) / 2, max(weights[name]) * 2))
        for name in shares
    }


def _of_samples(loss: LossRecord) -> list[float]:
    total = sum(loss.count)
    return [count / total for count in loss.count]


def _draw_shares(axes: Axes, loss: LossRecord, limits: tuple[float, float]) -> None:
    edges = numpy.linspace(0, 1, len(loss.count) + 1)
    axes.stairs(_of_samples(loss), edges, baseline=limits[0], fill=True, color=SAMPLES, label="of the samples")
    axes.stairs(_shown(loss.share), edges, baseline=None, color=GRADIENT, linewidth=1.6, label="of the gradient")


def _prepare(axes: Axes, limits: tuple[float, float]) -> None:
    axes.set(yscale="log", xlim=(0, 1), ylim=limits)
    axes.minorticks_off()
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def _shown(values: Sequence[float]) -> list[float]:
    """A log axis has no place for 0."""
    return [value if value > 0 else math.nan for value in values]


def draw_record(record: Record, limits: Limits | None = None) -> Figure:
    """One row for each loss: the shares of samples and gradient in each unit region, and the weight there."""
    limits = limits or limits_of([record])
    height = 0.4 + 2.6 * len(limits)
    figure = Figure(figsize=(8.5, height))
    # A layout engine would take longer than the drawing, and the training waits.
    figure.subplots_adjust(0.075, 0.5 / height, 0.985, 1 - 0.65 / height, wspace=0.2, hspace=0.45)
    figure.suptitle(f"iteration {record.iteration:,}", y=1 - 0.15 / height, fontsize=11, fontweight="bold")
    rows = figure.subplots(len(limits), 2, squeeze=False)
    for (left, right), (name, (of_share, of_weight)) in zip(rows, limits.items()):
        _prepare(left, of_share)
        _prepare(right, of_weight)
        left.set_ylabel("share", fontsize=9)
        right.set_ylabel("weight", fontsize=9)
        right.axhline(1, color="0.5", linewidth=0.8, linestyle="--")
        loss = record.losses.get(name)
        if loss is None:
            left.set_title(f"{name}: not called", fontsize=9, loc="left")
            continue
        _draw_shares(left, loss, of_share)
        right.stairs(
            _shown(loss.weight), numpy.linspace(0, 1, len(loss.weight) + 1), baseline=None, color=WEIGHT, linewidth=1.6
        )
        left.set_title(f"{name} ({loss.type})", fontsize=9, loc="left")
        right.set_title("weight of a sample's gradient, 1 = plain mean", fontsize=9, loc="left")
        for axes in (left, right):
            axes.set_xlabel(NORM[loss.kind], fontsize=9)
        left.legend(fontsize=8, loc="upper center", ncols=2, frameon=False)
    return figure


def as_image(figure: Figure) -> numpy.ndarray:
    """RGB, uint8, shape (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return numpy.ascontiguousarray(numpy.asarray(canvas.buffer_rgba())[..., :3])


def write_strip(records: Sequence[Record], path: Path) -> None:
    """A row of pictures for each loss, closer together at the start of the training, where most happens."""
    last = len(records) - 1
    steps = numpy.linspace(0, 1, PICTURES_IN_STRIP)
    chosen = [records[index] for index in sorted({round(last * step**2) for step in steps.tolist()})]
    limits = limits_of(chosen)
    figure = Figure(figsize=(0.9 + 1.85 * len(chosen), 0.5 + 1.9 * len(limits)), layout="constrained")
    grid = figure.subplots(len(limits), len(chosen), squeeze=False, sharex=True, sharey="row")
    for row, (name, (of_share, _)) in zip(grid, limits.items()):
        for axes, record in zip(row, chosen):
            _prepare(axes, of_share)
            axes.set(xticks=[0, 0.5, 1], xticklabels=["0", ".5", "1"])
            loss = record.losses.get(name)
            if loss is not None:
                _draw_shares(axes, loss, of_share)
                row[0].set_ylabel(f"{name}\n{loss.type}", fontsize=9)
                row[0].set_xlabel(NORM[loss.kind], fontsize=9, loc="left")
    for axes, record in zip(grid[0], chosen):
        axes.set_title(f"iteration {record.iteration:,}", fontsize=9)
    handles, labels = grid[0][-1].get_legend_handles_labels()
    figure.legend(handles, [f"share {label}" for label in labels], loc="outside lower center", ncols=2, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def write_animation(
    records: Sequence[Record], path: Path, progress: Callable[[Sequence[Record]], Iterable[Record]] = iter
) -> None:
    """A GIF that goes through the records and stays a while on the last."""
    from PIL import Image

    indices = numpy.linspace(0, len(records) - 1, min(FRAMES, len(records))).round().astype(int)
    chosen = [records[index] for index in indices]
    limits = limits_of(chosen)
    frames = [Image.fromarray(as_image(draw_record(record, limits))) for record in progress(chosen)]
    time = 1000 // FRAMES_PER_SECOND
    path.parent.mkdir(parents=True, exist_ok=True)
    frames[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[time] * (len(frames) - 1) + [20 * time],
        loop=0,
    )
