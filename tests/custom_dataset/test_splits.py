"""Splits: what the folder says stays, what lacks is drawn with a seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ghm_mmdet.custom_dataset.labelled_images import LabelledFolder, LabelledImage, LabelledObject
from ghm_mmdet.custom_dataset.splits import complete_splits, images_of
from ghm_mmdet.errors import UserError


def folder_of(*splits: str | None) -> LabelledFolder:
    images = [
        LabelledImage(Path(f"/data/{number:03d}.jpg"), (10, 10), [LabelledObject("cell", (1, 1, 5, 5))], split)
        for number, split in enumerate(splits)
    ]
    return LabelledFolder(Path("/data"), "", ("cell",), images)


def counts(folder: LabelledFolder) -> Counter:
    return Counter(image.split for image in folder.images)


def test_all_for_training_is_nothing_said() -> None:
    folder, other = folder_of(*["train"] * 20), folder_of(*[None] * 20)
    assert complete_splits(folder, 0) == complete_splits(other, 0)
    assert folder.images == other.images


@pytest.mark.parametrize("split", ["val", "test"])
def test_all_in_one_other_split_is_drawn_and_told(split: str) -> None:
    folder = folder_of(*[split] * 20)
    assert complete_splits(folder, 0) == f"drawn with seed 0; the folder has all of them for {split}"
    assert counts(folder) == {"train": 14, "val": 3, "test": 3}


def test_nothing_said_is_drawn_the_same_for_a_seed() -> None:
    first, again, other = (folder_of(*[None] * 100) for _ in range(3))
    again.images.reverse()
    assert "seed 3" in complete_splits(first, 3)
    complete_splits(again, 3)
    complete_splits(other, 4)
    assert counts(first) == {"train": 70, "val": 15, "test": 15}
    by_path = [{image.path: image.split for image in folder.images} for folder in (first, again, other)]
    assert by_path[0] == by_path[1] != by_path[2]


@pytest.mark.parametrize("number", [3, 4, 7, 20])
def test_few_images_leave_some_for_each(number: int) -> None:
    folder = folder_of(*[None] * number)
    complete_splits(folder, 0)
    assert set(counts(folder)) == {"train", "val", "test"}


@pytest.mark.parametrize("seed", range(5))
def test_a_rare_class_is_in_training(seed: int) -> None:
    """Its one image would else be drawn for validation or test by three seeds of ten."""
    folder = folder_of(*[None] * 7)
    folder.images[seed].objects[:] = [LabelledObject("rare", (1, 1, 5, 5))]
    complete_splits(folder, seed)
    assert folder.object_counts("train")["rare"] == 1


def test_what_the_folder_says_stays() -> None:
    folder = folder_of("train", "val", "test", None)
    assert complete_splits(folder, 0) == "as the folder has it"
    assert [image.split for image in folder.images] == ["train", "val", "test", "train"]


def test_validation_is_drawn_from_training() -> None:
    folder = folder_of(*["train"] * 20, "test")
    complete_splits(folder, 0)
    assert counts(folder) == {"train": 17, "val": 3, "test": 1}


def test_validation_serves_as_test() -> None:
    folder = folder_of("train", "val")
    assert "serve as test" in complete_splits(folder, 0)
    assert images_of(folder, "test") == images_of(folder, "val") == [folder.images[1]]


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ((None, None), "at least 3"),
        (("val", "test"), "images for val and test, none for training"),
        (("train", "test"), "too few to validate"),
    ],
)
def test_too_few_images(splits: tuple, words: str) -> None:
    with pytest.raises(UserError, match=words):
        complete_splits(folder_of(*splits), 0)
