"""Class names in pictures as they are written."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterable

import matplotlib
from matplotlib import font_manager

from ghm_mmdet.errors import print_notice

# matplotlib's own fonts end with Greek, Cyrillic, Hebrew and Arabic.
FURTHER_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Droid Sans Fallback", "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans", "Arial Unicode MS"),
)


def draw_names_as_written(names: Iterable[str] = ()) -> None:
    """Lets matplotlib draw a `$` as a `$`, and Chinese, Japanese and Korean in a font that has them.

    Without such a font a name is drawn as boxes; one line says so in place of a warning for each letter.
    """
    # Two of them would begin and end a formula.
    matplotlib.rcParams["text.parse_math"] = False
    installed = {font.name for font in font_manager.fontManager.ttflist}
    further = [font for font in FURTHER_FONTS if font in installed]
    families = matplotlib.rcParams["font.sans-serif"]
    matplotlib.rcParams["font.sans-serif"] = [*families, *(font for font in further if font not in families)]
    warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from ")
    wide = sorted({letter for name in names for letter in name if unicodedata.east_asian_width(letter) in "WF"})
    if wide and not further:
        print_notice(f"no font here has the letters {''.join(wide[:8])}: pictures show boxes. Install Noto Sans CJK.")
