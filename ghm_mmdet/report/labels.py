"""Where the names of boxes stand on an image, so that none covers another or leaves the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Of a letter, in font sizes: bold sans-serif letters are about as wide.
LETTER = 0.62
LINE = 1.15


@dataclass(frozen=True)
class Label:
    """A text and where its first letter stands, in pixels of the image."""

    x: float
    y: float
    text: str


def place_labels(boxes: Iterable[tuple[Sequence[float], str]], view: Sequence[float], size: float) -> list[Label]:
    """Puts each text above its box, in it or below it, where there is room; where there is none the text is left out.

    Args:
        boxes: (x, y, width, height) and text, those that matter most first.
        view: x, y, width, height of the image.
        size: of the letters.
    """
    left, top, width, height = view
    placed: list[Label] = []
    for (x, y, _, box_height), text in boxes:
        x = max(left, min(x, left + width - _width(text, size)))
        for line in (y - size * 0.25, y + size, y + box_height - size * 0.25, y + box_height + size):
            label = Label(x, line, text)
            inside = top + size <= line <= top + height - size * 0.2
            if inside and not any(_overlap(label, other, size) for other in placed):
                placed.append(label)
                break
    return placed


def _width(text: str, size: float) -> float:
    return LETTER * size * len(text)


def _overlap(a: Label, b: Label, size: float) -> bool:
    beside = a.x + _width(a.text, size) <= b.x or b.x + _width(b.text, size) <= a.x
    return not beside and abs(a.y - b.y) < LINE * size
