"""Labelled images, whatever format they came in, and COCO's JSON of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ghm_mmdet.errors import UserError

SPLITS = ("train", "val", "test")
# Of EXIF's orientations, those that a decoder turns by a quarter.
QUARTER_TURNS = (5, 6, 7, 8)
ORIENTATION = 0x0112


@dataclass(frozen=True)
class LabelledObject:
    """An object.

    bbox: left, top, width, height in pixels, counted from 0.
    ignored: neither learned from nor evaluated: COCO's iscrowd, VOC's difficult.
    """

    class_name: str
    bbox: tuple[float, float, float, float]
    ignored: bool = False

    @property
    def has_area(self) -> bool:
        """Whether it is at least a pixel wide and high; mmdet drops what is smaller."""
        return min(self.bbox[2:]) >= 1


@dataclass
class LabelledImage:
    """An image file, its (width, height), its objects, and its split where the folder says it."""

    path: Path
    size: tuple[int, int]
    objects: list[LabelledObject] = field(default_factory=list)
    split: str | None = None


@dataclass
class LabelledFolder:
    """What was read from a folder.

    format_name: of its labels, in words.
    classes: in the order in which a detector numbers them.
    notes: what was left out, one line each.
    """

    root: Path
    format_name: str
    classes: tuple[str, ...]
    images: list[LabelledImage]
    notes: list[str] = field(default_factory=list)

    def object_counts(self, split: str | None = None) -> Counter[str]:
        """Objects by class, of one split or of all; ignored ones do not count."""
        return Counter(
            labelled.class_name
            for image in self.images
            if split in (None, image.split)
            for labelled in image.objects
            if not labelled.ignored
        )

    def leave_out_objects_without_area(self) -> None:
        """Drops them, with a note: no anchor matches them, and in the evaluation they would count as missed."""
        dropped = [image.path for image in self.images for labelled in image.objects if not labelled.has_area]
        for image in self.images:
            image.objects = [labelled for labelled in image.objects if labelled.has_area]
        if dropped:
            self.notes.append(
                f"{len(dropped)} boxes smaller than a pixel or with swapped corners are left out, the first in "
                f"{dropped[0]}"
            )

    def require_usable(self) -> None:
        """Raises UserError without objects, and for class names that only differ by case or spaces."""
        counts = self.object_counts()
        if not counts:
            raise UserError(
                f"{len(self.images)} images and not one labelled object in {self.root} ({self.format_name})\n"
                + "; ".join([*self.notes, "export the labels again, or check that the export holds boxes"])
            )
        written: dict[str, str] = {}
        for name in self.classes:
            same = written.setdefault("".join(name.split()).casefold(), name)
            if same != name:
                raise UserError(
                    f"two classes differ by case or spaces only: {same!r} ({counts[same]:,} objects) and {name!r} "
                    f"({counts[name]:,}), in {self.root}\nGive both one name in the labels."
                )
            if not name.strip():
                raise UserError(f"a class has no name, in {self.root}\nGive it one in the labels.")


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) as the image is decoded, from the head of the file.

    Raises:
        UserError: it is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION) in QUARTER_TURNS
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"cannot read the image {path}\nReplace the file, or take it and its labels away.") from error
    return (height, width) if turned else (width, height)


def coco_content(images: Iterable[LabelledImage], classes: tuple[str, ...], root: Path) -> dict[str, list[Any]]:
    """COCO's lists of images, annotations and categories; file names are relative to the root."""
    labels = {name: number for number, name in enumerate(classes, start=1)}
    content: dict[str, list[Any]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for name, number in labels.items()],
    }
    for image_id, image in enumerate(images, start=1):
        width, height = image.size
        name = Path(os.path.relpath(image.path, root)).as_posix()
        content["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
        for labelled in image.objects:
            left, top, box_width, box_height = labelled.bbox
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": labels[labelled.class_name],
                    "bbox": [round(value, 2) for value in (left, top, box_width, box_height)],
                    "area": round(box_width * box_height, 2),
                    "iscrowd": int(labelled.ignored),
                }
            )
    return content
