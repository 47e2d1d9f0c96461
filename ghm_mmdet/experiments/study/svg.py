"""Pictures as SVG whose colours follow the reader's light or dark page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Matplotlib knows no colour that depends on the page, so it draws with stand-ins, which are replaced in the file.
INK, FAINT, GROUND = "#000100", "#000200", "#000300"
# By stand-in: a name, the colour on a light and the one on a dark page.
PAGE_COLOURS = {
    INK: ("ink", "#1c2128", "#e8ebef"),
    FAINT: ("faint", "#59636e", "#a0a9b4"),
    GROUND: ("ground", "#ffffff", "#14171c"),
}
# A phone shows a picture some 360 pixels wide: 5 inches, so that a point of text is a pixel there.
WIDTH = 5.0
TEXT = 12


def page_figure(heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """A figure as wide as a phone, and its panels, one below the other.

    Args:
        heights: of the panels in inches.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    with rc_context({"text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": INK, "font.size": TEXT}):
        figure = Figure(figsize=(WIDTH, sum(heights)), layout=layout, facecolor=GROUND)
        panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes in panels:
        axes.set_facecolor(GROUND)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(which="both", labelsize=TEXT, colors=INK)
        axes.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)
    return figure, list(panels)


def write_svg(figure: Figure, path: Path, colours: Mapping[str, tuple[str, str, str]]) -> None:
    """Writes the same bytes for the same figure.

    Args:
        figure: drawn with `PAGE_COLOURS` and the colours beside them.
        path: file to write.
        colours: as `PAGE_COLOURS`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": "ghm_mmdet", "font.size": TEXT}):
        # The layout's solver differs by rounding from run to run, which the names of clip paths show.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes in figure.axes:
            left, bottom, width, height = (round(value, 4) for value in axes.get_position().bounds)
            axes.set_position((left, bottom, width, height))
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    text = path.read_text(encoding="utf-8")
    colours = {**PAGE_COLOURS, **colours}
    for stand_in, (name, _, _) in colours.items():
        text = text.replace(stand_in, f"var(--{name})")
    light, dark = (" ".join(f"--{name}: {pair[place]};" for name, *pair in colours.values()) for place in (0, 1))
    style = f"svg {{ {light} }} @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}"
    head, rest = text.split("<defs>", 1)
    path.write_text(f"{head}<style>{style}</style>\n <defs>{rest}", encoding="utf-8")
