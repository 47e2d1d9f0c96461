"""COCO's and VOC's files for the digits."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from ghm_mmdet.digits.scenes import CLASSES, MAX_OBJECTS, DigitObject, SceneOptions


class COCOFormat:
    """``train/000001.jpg`` and ``annotations/instances_train.json``, and the same for val and test.

    Args:
        root: The folder to write into.
        options: The options of the scenes.
        splits: The splits that have images.
    """

    def __init__(self, root: Path, options: SceneOptions, splits: list[str]) -> None:
        self.root = root
        self.options = options
        self.folders = ["annotations", *splits]

    def image_path(self, split: str, index: int) -> Path:
        return self.root / split / f"{index + 1:06d}.jpg"

    def write_image(self, split: str, index: int, annotated: dict[int, DigitObject]) -> list[dict]:
        """Returns the annotations of one image; COCO has no file for it."""
        rows = []
        for position, digit in annotated.items():
            x1, y1, x2, y2 = digit.bbox
            rows.append(
                {
                    # An object's number, so that it stays the same when others have no box.
                    "id": (index + 1) * MAX_OBJECTS + position,
                    "image_id": index + 1,
                    "category_id": digit.label + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
        return rows

    def write_split(self, split: str, images: list[list[dict]]) -> None:
        """Writes the annotations of a split from what `write_image` returned for each of its images, in order."""
        width, height = self.options.image_size
        instances = {
            "info": {"description": f"Scenes of handwritten digits, {split}"},
            "images": [
                {"id": index + 1, "file_name": self.image_path(split, index).name, "width": width, "height": height}
                for index in range(len(images))
            ],
            "annotations": [row for rows in images for row in rows],
            "categories": [
                {"id": label + 1, "name": CLASSES[label], "supercategory": "digit"}
                for label in range(self.options.num_classes)
            ],
        }
        (self.root / "annotations" / f"instances_{split}.json").write_text(json.dumps(instances))


class VOCFormat:
    """``JPEGImages/train_000001.jpg``, ``Annotations/train_000001.xml`` and ``ImageSets/Main/train.txt``.

    With train and val there is a ``trainval.txt`` too. VOC counts pixels from 1 and a box includes its last pixel.

    Args:
        root: The folder to write into.
        options: The options of the scenes.
        splits: The splits that have images.
    """

    folders = ("Annotations", "ImageSets/Main", "JPEGImages")

    def __init__(self, root: Path, options: SceneOptions, splits: list[str]) -> None:
        self.root = root
        self.options = options
        self.splits = splits

    def image_path(self, split: str, index: int) -> Path:
        return self.root / "JPEGImages" / f"{split}_{index + 1:06d}.jpg"

    def write_image(self, split: str, index: int, annotated: dict[int, DigitObject]) -> str:
        """Writes the annotations of one image and returns the image's name in the lists."""
        image = self.image_path(split, index)
        width, height = self.options.image_size
        annotation = _element("annotation", folder="digits", filename=image.name)
        annotation.append(_element("size", width=width, height=height, depth=3))
        annotation.append(_element("segmented", 0))
        for digit in annotated.values():
            x1, y1, x2, y2 = digit.bbox
            element = _element("object", name=CLASSES[digit.label], pose="Unspecified", truncated=0, difficult=0)
            element.append(_element("bndbox", xmin=x1 + 1, ymin=y1 + 1, xmax=x2, ymax=y2))
            annotation.append(element)
        ElementTree.indent(annotation)
        ElementTree.ElementTree(annotation).write(self.root / "Annotations" / f"{image.stem}.xml", encoding="utf-8")
        return image.stem

    def write_split(self, split: str, images: list[str]) -> None:
        """Writes the list of a split's images."""
        lists = self.root / "ImageSets" / "Main"
        content = "".join(f"{name}\n" for name in images)
        (lists / f"{split}.txt").write_text(content)
        if split in ("train", "val") and {"train", "val"} <= set(self.splits):
            with (lists / "trainval.txt").open("a") as trainval:
                trainval.write(content)


def _element(tag: str, text: object = None, **children: object) -> ElementTree.Element:
    element = ElementTree.Element(tag)
    element.text = None if text is None else str(text)
    for name, value in children.items():
        element.append(_element(name, value))
    return element


FORMATS: dict[str, type[COCOFormat] | type[VOCFormat]] = {"coco": COCOFormat, "voc": VOCFormat}
