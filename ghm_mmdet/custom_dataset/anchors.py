"""Anchors that suit the boxes of a data set."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Others are taken only when they fit better by this much, since what the losses were compared with are the defaults.
LEAST_GAIN = 0.05
BASE_SCALES = (2.0, 3.0, 4.0, 6.0, 8.0)
DEFAULT_RATIOS = (0.5, 1.0, 2.0)
SCALES_PER_OCTAVE = 3


@dataclass(frozen=True)
class Anchors:
    """RetinaNet's anchors.

    octave_base_scale: the smallest anchor of a level is this many strides wide.
    ratios: height / width.
    fit: mean over the boxes of the highest IoU with an anchor of the same middle, in [0, 1].
    """

    octave_base_scale: float
    ratios: tuple[float, ...]
    fit: float


def choose_anchors(sizes: np.ndarray, strides: Sequence[int], default_base_scale: float) -> Anchors:
    """Searches a small grid: five base scales, mmdet's ratios and those of the boxes (10, 50 and 90 % quantiles).

    Args:
        sizes: (width, height) of the boxes, shape (N, 2), in pixels as the detector sees them, all above 0.
        strides: of the levels of the detector.
        default_base_scale: what the detector has.

    Returns:
        The best of the grid, or the detector's own where nothing fits better by `LEAST_GAIN`.
    """
    of_boxes = np.quantile(sizes[:, 1] / sizes[:, 0], (0.1, 0.5, 0.9))
    ratios = {DEFAULT_RATIOS, tuple(sorted({float(f"{ratio:.2g}") for ratio in of_boxes}))}
    default = Anchors(default_base_scale, DEFAULT_RATIOS, _fit(sizes, strides, default_base_scale, DEFAULT_RATIOS))
    grid = (
        Anchors(scale, ratio, _fit(sizes, strides, scale, ratio))
        for scale, ratio in itertools.product(BASE_SCALES, sorted(ratios))
    )
    best = max(grid, key=lambda anchors: anchors.fit)
    return best if best.fit > default.fit + LEAST_GAIN else default


def _fit(sizes: np.ndarray, strides: Sequence[int], base_scale: float, ratios: Sequence[float]) -> float:
    octaves = 2 ** (np.arange(SCALES_PER_OCTAVE) / SCALES_PER_OCTAVE)
    sides = (np.asarray(strides)[:, None] * base_scale * octaves).reshape(-1, 1)
    roots = np.sqrt(np.asarray(ratios))
    anchors = np.stack([(sides / roots).ravel(), (sides * roots).ravel()], axis=1)
    overlap = np.minimum(sizes[:, None], anchors).prod(axis=2)
    iou = overlap / (sizes.prod(axis=1)[:, None] + anchors.prod(axis=1) - overlap)
    return float(iou.max(axis=1).mean())
