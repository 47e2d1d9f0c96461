"""Charts as SVG text for the page, drawn by matplotlib; the page's style colours them, for light and for dark."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Iterable, Sequence

import matplotlib
from markupsafe import Markup, escape
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import ArrayLike

from ghm_mmdet.cli.drawn_text import draw_names_as_written

matplotlib.use("Agg")
draw_names_as_written()

# Runs differ in colour and in dashes; with more of them both begin anew.
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (7, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (9, 3)))
# Stand for the page's colours until the SVG is written.
_INK = "#000100"
_FIRST_RUN = 0x000200
_NUMBERS = itertools.count()


def svg_dashes(run: int) -> str:
    """The dashes of a run's line as SVG writes them, in line widths of 2."""
    dashes = DASHES[run % len(DASHES)]
    return "" if dashes == "solid" else " ".join(str(2 * part) for part in dashes[1])


def chart(
    title: str,
    lines: Iterable[tuple[int, ArrayLike, ArrayLike]],
    *,
    xlabel: str,
    ylabel: str,
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float, float] | None = None,
    log: bool = False,
    marked: bool = False,
    steps: bool = False,
    size: tuple[float, float] = (3.6, 2.5),
) -> Markup:
    """Draws lines (run, x, y).

    Args:
        log: the y axis is logarithmic.
        marked: the points are shown as well.
        xlim: ends of the x axis; without it x counts, in whole numbers.
        steps: for histograms, whose bins have their middles at x.
        size: in inches, which decides how large the text is beside the lines.
    """
    figure, axes = pyplot.subplots(figsize=size)
    for run, x, y in lines:
        axes.plot(
            x,
            y,
            color=f"#{_FIRST_RUN + run % len(DASHES):06x}",
            linestyle=DASHES[run % len(DASHES)],
            linewidth=1.6,
            marker="o" if marked else None,
            markersize=3.5,
            drawstyle="steps-mid" if steps else "default",
        )
    if log:
        axes.set_yscale("log")
        # matplotlib's own labels are formulas, which are not read as such here.
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    if xlim is None:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, xlim=xlim, ylim=ylim)
    return _svg(figure, axes, title)


def _svg(figure: Figure, axes: Axes, title: str) -> Markup:
    axes.grid(alpha=0.2, color=_INK)
    axes.tick_params(which="both", colors=_INK, labelsize=9)
    for spine in axes.spines.values():
        spine.set(color=_INK, alpha=0.4)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set(color=_INK, fontsize=10)
    for offset in (axes.xaxis.get_offset_text(), axes.yaxis.get_offset_text()):
        offset.set_color(_INK)
    figure.tight_layout()
    buffer = io.StringIO()
    # Ids are unique on a page of many charts.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": str(next(_NUMBERS))}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"#(\w+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r"#0002(\d\d)", lambda match: f"var(--run-{int(match[1])})", svg)
    svg = svg.replace(_INK, "currentColor").replace("'DejaVu Sans', ", "")
    start = f'<svg class="chart" role="img" aria-label="{escape(title)}" '
    return Markup(re.sub(r'<svg[^>]* (viewBox="[^"]*")[^>]*>', lambda match: f"{start}{match[1]}>", svg, count=1))


def finite(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Steps and values of a logged series, without infinities, which would hide all else."""
    kept = [(step, value) for step, value in points if math.isfinite(value)]
    return [step for step, _ in kept], [value for _, value in kept]
