"""Labels on an image neither cover each other nor leave it."""

from __future__ import annotations

import random

from ghm_mmdet.report.labels import LETTER, place_labels

VIEW, SIZE = (0, 0, 200, 150), 10.0


def test_above_the_box_where_there_is_room() -> None:
    (label,) = place_labels([((20, 40, 30, 30), "cat")], VIEW, SIZE)
    assert (label.x, label.text) == (20, "cat") and 40 - SIZE < label.y < 40


def test_inside_the_image_at_its_borders() -> None:
    (corner,) = place_labels([((190, 0, 10, 150), "platelet")], VIEW, SIZE)
    assert SIZE <= corner.y <= 150 and corner.x + LETTER * SIZE * 8 <= 200


def test_second_label_goes_elsewhere_and_a_third_may_be_left_out() -> None:
    boxes = [((20, 40, 30, 30), name) for name in ("first", "second")]
    first, second = place_labels(boxes, VIEW, SIZE)
    assert (first.text, second.text) == ("first", "second") and abs(first.y - second.y) > SIZE
    crowd = place_labels([((20, 40, 30, 5), str(number)) for number in range(50)], VIEW, SIZE)
    assert crowd[0].text == "0" and len(crowd) < 50


def test_no_two_letters_meet() -> None:
    random.seed(0)
    boxes = [((random.uniform(-5, 195), random.uniform(-5, 145), 20, 20), f"name {n}") for n in range(80)]
    placed = place_labels(boxes, VIEW, SIZE)
    assert len(placed) > 10
    for number, a in enumerate(placed):
        assert a.x >= 0 and SIZE <= a.y <= 150
        for b in placed[:number]:
            width = LETTER * SIZE * min(len(a.text), len(b.text))
            assert abs(a.y - b.y) >= SIZE or abs(a.x - b.x) >= width
