"""The scenes of digits: same for the same seed, honest splits, tight boxes, label noise of the share asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from ghm_mmdet.digits.scenes import (
    CLASSES,
    JITTERED_IOU,
    SPLITS,
    OptionError,
    SceneOptions,
    annotate,
    box_iou,
    handwriting,
    make_scene,
    split_samples,
)

OPTIONS = SceneOptions(image_size=(128, 96), object_size=(12, 48))


def iou_by_pixels(box: tuple, other: tuple) -> float:
    """Intersection over union of two boxes with whole corners, by counting the pixels of both."""
    painted = np.zeros((2, 200, 200), bool)
    for canvas, (x1, y1, x2, y2) in zip(painted, (box, other)):
        canvas[y1:y2, x1:x2] = True
    return painted.all(0).sum() / painted.any(0).sum()


@pytest.fixture(scope="module")
def scenes() -> list:
    return [make_scene(OPTIONS, split, index) for split in SPLITS for index in range(40)]


def test_a_scene_depends_on_seed_split_and_index_alone() -> None:
    scene, again = make_scene(OPTIONS, "train", 3), make_scene(OPTIONS, "train", 3)
    assert np.array_equal(scene.image, again.image)
    assert scene.objects == again.objects
    for other in (
        make_scene(OPTIONS, "train", 4),
        make_scene(OPTIONS, "val", 3),
        make_scene(replace(OPTIONS, seed=1), "train", 3),
    ):
        assert not np.array_equal(scene.image, other.image)


def test_splits_share_no_handwriting(scenes) -> None:
    blocks = {split: set(split_samples(split)) for split in SPLITS}
    assert sum(len(block) for block in blocks.values()) == len(set.union(*blocks.values())) == len(handwriting()[1])
    targets = handwriting()[1]
    for number, split in enumerate(SPLITS):
        assert {targets[sample] for sample in blocks[split]} == set(range(10))
        for scene in scenes[number * 40 : number * 40 + 40]:
            assert scene.samples <= blocks[split]
            assert {digit.sample for digit in scene.objects} <= scene.samples


def test_an_object_has_the_class_of_its_handwriting(scenes) -> None:
    targets = handwriting()[1]
    for scene in scenes:
        assert [digit.label for digit in scene.objects] == [targets[digit.sample] for digit in scene.objects]


def test_boxes_are_tight_around_ink_that_can_be_seen(scenes) -> None:
    for scene in scenes:
        height, width = scene.image.shape[:2]
        assert (width, height) == OPTIONS.image_size
        for number, digit in enumerate(scene.objects):
            x1, y1, x2, y2 = digit.bbox
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
            ink = scene.owners == number
            inside = ink[y1:y2, x1:x2]
            assert inside.sum() == ink.sum()
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_ink_differs_from_what_surrounds_it(scenes) -> None:
    brighter = []
    for scene in scenes:
        grey = scene.image.mean(2)
        for number, digit in enumerate(scene.objects):
            x1, y1, x2, y2 = digit.bbox
            patch, owners = grey[y1:y2, x1:x2], scene.owners[y1:y2, x1:x2]
            if (owners == -1).any():
                brighter.append(np.median(patch[owners == number]) - np.median(patch[owners == -1]))
    contrast = np.abs(brighter)
    assert np.median(contrast) > 40
    # What lies in between can be an edge or clutter.
    assert np.mean(contrast < 15) < 0.05
    assert 0.3 < np.mean(np.array(brighter) > 0) < 0.7


def test_scenes_vary_in_size_class_number_and_overlap(scenes) -> None:
    objects = [digit for scene in scenes for digit in scene.objects]
    heights = [digit.bbox[3] - digit.bbox[1] for digit in objects]
    assert min(heights) < 16 and max(heights) > 40
    assert len(Counter(digit.label for digit in objects)) == 10
    low, high = OPTIONS.objects_per_image
    assert {len(scene.objects) for scene in scenes} == set(range(low, high + 1))
    overlapping = [
        any(box_iou(a.bbox, b.bbox) > 0 for a in scene.objects for b in scene.objects if a is not b) for scene in scenes
    ]
    assert 0.1 < np.mean(overlapping) < 0.9


def test_there_is_clutter_that_is_no_object() -> None:
    empty = replace(OPTIONS, clutter_per_image=(0, 0))
    cluttered = replace(OPTIONS, clutter_per_image=(5, 5))
    for index in range(10):
        without, with_clutter = make_scene(empty, "val", index), make_scene(cluttered, "val", index)
        assert without.samples == {digit.sample for digit in without.objects}
        assert len(with_clutter.samples) > len({digit.sample for digit in with_clutter.objects})
        assert [digit.sample for digit in without.objects] == [digit.sample for digit in with_clutter.objects]


@pytest.mark.parametrize("num_classes", [1, 3, 10])
def test_the_first_classes_are_the_objects(num_classes: int) -> None:
    options = replace(OPTIONS, num_classes=num_classes)
    labels = {digit.label for index in range(30) for digit in make_scene(options, "train", index).objects}
    assert labels == set(range(num_classes))


def test_other_digits_become_negatives_when_asked() -> None:
    targets = handwriting()[1]
    options = replace(OPTIONS, num_classes=9, clutter_per_image=(6, 6))

    def nines(options: SceneOptions) -> int:
        scenes = [make_scene(options, "train", index) for index in range(30)]
        return sum(targets[sample] == 9 for scene in scenes for sample in scene.samples)

    # "none" still cuts nines up for clutter, as it does with the other digits.
    assert nines(replace(options, other_digits="negatives")) > 3 * nines(options)


NOISE = {"mislabelled": 0.2, "jittered": 0.3, "missing": 0.1}


def test_label_noise_has_the_share_asked_for_in_train_alone() -> None:
    noisy = replace(OPTIONS, **NOISE)
    counts = Counter()
    for index in range(400):
        scene = make_scene(noisy, "train", index)
        annotated = annotate(noisy, "train", index, scene)
        for position, truth in enumerate(scene.objects):
            counts["objects"] += 1
            if position not in annotated:
                counts["missing"] += 1
                continue
            counts["boxes"] += 1
            given = annotated[position]
            counts["mislabelled"] += given.label != truth.label
            if given.bbox != truth.bbox:
                counts["jittered"] += 1
                iou = iou_by_pixels(given.bbox, truth.bbox)
                assert JITTERED_IOU[0] <= iou <= JITTERED_IOU[1]
                assert iou == pytest.approx(box_iou(given.bbox, truth.bbox))
                x1, y1, x2, y2 = given.bbox
                assert 0 <= x1 < x2 <= 128 and 0 <= y1 < y2 <= 96
    for noise, share in NOISE.items():
        total = counts["objects" if noise == "missing" else "boxes"]
        # 4 standard deviations of a binomial share.
        assert counts[noise] / total == pytest.approx(share, abs=4 * (share * (1 - share) / total) ** 0.5)
    for split in ("val", "test"):
        for index in range(20):
            scene = make_scene(noisy, split, index)
            assert annotate(noisy, split, index, scene) == dict(enumerate(scene.objects))


def test_label_noise_leaves_the_scenes_and_grows_with_its_share() -> None:
    less, more = replace(OPTIONS, mislabelled=0.1), replace(OPTIONS, mislabelled=0.4, missing=0.1)
    changed = {"less": 0, "more": 0}
    for index in range(60):
        scene, noisy_scene = make_scene(OPTIONS, "train", index), make_scene(more, "train", index)
        assert np.array_equal(scene.image, noisy_scene.image)
        assert scene.objects == noisy_scene.objects
        few, many = annotate(less, "train", index, scene), annotate(more, "train", index, scene)
        for position, truth in enumerate(scene.objects):
            if position in many and few[position] != truth:
                assert many[position] == few[position]
            changed["less"] += few[position] != truth
            changed["more"] += many.get(position) != truth
    assert 0 < changed["less"] < changed["more"]


def test_without_noise_the_annotations_are_the_objects() -> None:
    scene = make_scene(OPTIONS, "train", 0)
    assert annotate(OPTIONS, "train", 0, scene) == dict(enumerate(scene.objects))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("image_size", (31, 160)),
        ("image_size", (160, 5000)),
        ("objects_per_image", (0, 0)),
        ("objects_per_image", (5, 4)),
        ("objects_per_image", (-1, 4)),
        ("clutter_per_image", (2, 1)),
        ("object_size", (4, 20)),
        ("object_size", (20, 97)),
        ("num_classes", 0),
        ("num_classes", len(CLASSES) + 1),
        ("other_digits", "some"),
        ("mislabelled", -0.1),
        ("jittered", 1.1),
        ("missing", float("nan")),
        ("seed", -1),
    ],
)
def test_a_bad_option_says_which_what_and_what_is_expected(option: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"^{option}: got .+, expected .+") as caught:
        replace(OPTIONS, **{option: value})
    assert caught.value.option == option


def test_one_class_cannot_be_mislabelled() -> None:
    with pytest.raises(OptionError, match="mislabelled"):
        replace(OPTIONS, num_classes=1, mislabelled=0.1)


def test_more_objects_than_fit_are_refused() -> None:
    options = SceneOptions(image_size=(64, 64), object_size=(24, 48), objects_per_image=(40, 40))
    with pytest.raises(OptionError, match="objects_per_image: got 40 40, expected what fits into 64x64 pixels"):
        make_scene(options, "train", 0)
