"""Which images are for training, validation and test: as the folder has it, else drawn with a seed."""

from __future__ import annotations

import random
from collections import Counter

from ghm_mmdet.custom_dataset.labelled_images import SPLITS, LabelledFolder, LabelledImage
from ghm_mmdet.errors import UserError

# Of what is drawn from, for validation and for test.
SHARE = 0.15
FEWEST_IMAGES = 3
# Of so many draws the first is taken in which most classes have an object to be learned from.
ATTEMPTS = 20


def complete_splits(folder: LabelledFolder, seed: int) -> str:
    """Gives every image a split, and says in words what was done.

    What the folder says stays. Where it says nothing, or has all images in one split, 15 % each are drawn for
    validation and test, so that every class is in training if that can be. Where it says it of some images only, the
    others are for training. Where only validation images lack, they are drawn from those for training; where only test
    images lack, the validation images serve as such.

    Raises:
        UserError: there are too few images to draw from.
    """
    images = folder.images
    said = {image.split for image in images}
    if len(said) == 1 or said == {None, "train"}:
        if len(images) < FEWEST_IMAGES:
            raise UserError(f"{len(images)} labelled images in {folder.root}, at least {FEWEST_IMAGES} are needed.")
        seeds = [f"{seed}", *(f"{seed}.{attempt}" for attempt in range(1, ATTEMPTS))]
        _draw_all(images, max(seeds, key=lambda each: _classes_learned(folder, each)))
        only = said & {"val", "test"}
        told = f"drawn with seed {seed}" + "".join(f"; the folder has all of them for {split}" for split in only)
    else:
        for image in images:
            image.split = image.split or "train"
        told = "as the folder has it"
        training = [image for image in images if image.split == "train"]
        if not training:
            raise UserError(f"images for {' and '.join(_present(images))}, none for training: {folder.root}")
        if "val" not in _present(images):
            if len(training) < FEWEST_IMAGES:
                raise UserError(f"{len(training)} images for training in {folder.root}, too few to validate on some.")
            _draw(training, "val", str(seed))
            told += f", validation drawn from training with seed {seed}"
    if not folder.object_counts("train"):
        raise UserError(
            f"no labelled object in the images for training: {folder.root}\n"
            "Label more images, or take another --seed where the split is drawn."
        )
    if "test" not in _present(images):
        told += "; the validation images serve as test images"
    return told


def images_of(folder: LabelledFolder, split: str) -> list[LabelledImage]:
    """The images of a split; for test those of val where there are none."""
    found = [image for image in folder.images if image.split == split]
    return found or ([image for image in folder.images if image.split == "val"] if split == "test" else [])


def _present(images: list[LabelledImage]) -> tuple[str, ...]:
    counts = Counter(image.split for image in images)
    return tuple(split for split in SPLITS if counts[split])


def _classes_learned(folder: LabelledFolder, seed: str) -> int:
    _draw_all(folder.images, seed)
    return len(folder.object_counts("train"))


def _draw_all(images: list[LabelledImage], seed: str) -> None:
    for image in images:
        image.split = "train"
    _draw(images, "val", seed)
    _draw([image for image in images if image.split == "train"], "test", seed, of=len(images))


def _draw(images: list[LabelledImage], split: str, seed: str, of: int | None = None) -> None:
    # By name, so that the order in which the files were read does not matter.
    ordered = sorted(images, key=lambda image: image.path.as_posix())
    number = max(1, round(SHARE * (of or len(images))))
    for image in random.Random(f"{split} {seed}").sample(ordered, number):
        image.split = split
