"""Write the labels of DeepPCB in COCO's format: deeppcb.py data/deeppcb.

The folder is a clone of the public repository tangsanli5201/DeepPCB. Three files are written to its folder
annotations: test.json with the 500 images of its list of that name, train.json and val.json with 900 and 100 of its
other list. Nothing else is changed.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from ghm_mmdet.custom_dataset.files import read_lines
from ghm_mmdet.custom_dataset.labelled_images import LabelledImage, LabelledObject, coco_content, image_size
from ghm_mmdet.errors import UserError, plain_errors

# A label line ends with the number of the class, from 1.
CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
NUM_VAL = 100


def read_objects(path: Path) -> list[LabelledObject]:
    objects = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            left, top, right, bottom, label = map(int, line.split())
        except ValueError:
            raise UserError(f"{path}, line {number}: {line!r} is not five whole numbers") from None
        if left >= right or top >= bottom or not 1 <= label <= len(CLASSES):
            raise UserError(f"{path}, line {number}: {line!r} is no box of a class from 1 to {len(CLASSES)}")
        objects.append(LabelledObject(CLASSES[label - 1], (left, top, right - left, bottom - top)))
    return objects


def read_images(path: Path) -> list[LabelledImage]:
    """The images of a list, whose lines are an image and its file of labels."""
    images = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            listed, labels = line.split()
        except ValueError:
            raise UserError(f"{path}, line {number}: {line!r} is not an image and its labels") from None
        # The list names neither the image nor the template without defects, which lies beside it.
        image = path.parent / listed
        image = image.with_name(image.stem + "_test.jpg")
        images.append(LabelledImage(image, image_size(image), read_objects(path.parent / labels)))
    return images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    root = parser.parse_args().folder
    data = root / "PCBData"
    rest = read_images(data / "trainval.txt")
    random.Random(0).shuffle(rest)
    splits = {"train": rest[NUM_VAL:], "val": rest[:NUM_VAL], "test": read_images(data / "test.txt")}
    out = root / "annotations"
    out.mkdir(exist_ok=True)
    for split, images in splits.items():
        images.sort(key=lambda image: image.path)
        (out / f"{split}.json").write_text(json.dumps(coco_content(images, CLASSES, data)))
        print(f"{out / split}.json: {len(images)} images, {sum(len(image.objects) for image in images)} boxes")


if __name__ == "__main__":
    with plain_errors():
        main()
