"""Anchors follow the boxes, and stay mmdet's where these fit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ghm_mmdet.custom_dataset.anchors import DEFAULT_RATIOS, LEAST_GAIN, choose_anchors

STRIDES = (8, 16, 32)


def naive_fit(sizes: np.ndarray, base: float, ratios: tuple[float, ...]) -> float:
    best = []
    for width, height in sizes:
        ious = []
        for stride, octave, ratio in itertools.product(STRIDES, range(3), ratios):
            side = stride * base * 2 ** (octave / 3)
            w, h = side / ratio**0.5, side * ratio**0.5
            overlap = min(width, w) * min(height, h)
            ious.append(overlap / (width * height + w * h - overlap))
        best.append(max(ious))
    return sum(best) / len(best)


@pytest.mark.parametrize(("side", "spread"), [(12, 0.1), (40, 0.4), (150, 0.2)])
def test_best_of_the_grid_or_the_default(side: float, spread: float) -> None:
    sizes = side * np.random.default_rng(0).lognormal(0, spread, (50, 2))
    chosen = choose_anchors(sizes, STRIDES, 3.0)
    assert chosen.fit == pytest.approx(naive_fit(sizes, chosen.octave_base_scale, chosen.ratios))
    default = naive_fit(sizes, 3.0, DEFAULT_RATIOS)
    if (chosen.octave_base_scale, chosen.ratios) != (3.0, DEFAULT_RATIOS):
        assert chosen.fit > default + LEAST_GAIN


def test_small_boxes_get_small_anchors_and_thin_ones_thin_anchors() -> None:
    assert choose_anchors(np.full((20, 2), 13.0), STRIDES, 3.0).octave_base_scale == 2
    thin = choose_anchors(np.tile([200.0, 20.0], (20, 1)), STRIDES, 3.0)
    assert thin.ratios == (0.1,)


def test_boxes_that_the_default_fits_keep_it() -> None:
    sizes = np.array([[8 * 3 * 2 ** (octave / 3)] * 2 for octave in range(6)])
    chosen = choose_anchors(sizes, STRIDES, 3.0)
    assert (chosen.octave_base_scale, chosen.ratios, chosen.fit) == (3.0, DEFAULT_RATIOS, pytest.approx(1))
