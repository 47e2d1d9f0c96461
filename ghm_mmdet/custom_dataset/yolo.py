"""YOLO's text files, boxes or polygons, in labels/ or beside the images.

The classes are named in data.yaml, classes.txt or obj.names.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from ghm_mmdet.custom_dataset.files import Files, require_images, split_in_name
from ghm_mmdet.custom_dataset.labelled_images import LabelledFolder, LabelledImage, LabelledObject, image_size
from ghm_mmdet.errors import UserError

FORMAT_NAME = "YOLO text"
# Text files of a YOLO export that hold no boxes.
OTHER_TEXTS = ("classes", "train", "val", "valid", "test", "readme", "notes")
# Ultralytics clips what a label is beyond the border by rounding.
TOLERANCE = 0.01


def find_yolo_labels(files: Files) -> list[Path]:
    """The text files that lie in a folder named labels, or beside an image of their name."""
    images = {image.with_suffix("") for image in files.images}
    return [
        path
        for path in files.txt
        if path.stem.lower() not in OTHER_TEXTS and not path.stem.lower().startswith("readme.")
        if "labels" in path.relative_to(files.root).parts[:-1] or path.with_suffix("") in images
    ]


def read_yolo(files: Files, labels: list[Path]) -> LabelledFolder:
    """Reads every label; an image without one has no object, as YOLO has it."""
    classes, description, source = _classes(files)
    images, used = [], set()
    for path in files.images:
        label = _label_of(path)
        objects = []
        size = image_size(path)
        if label is not None:
            used.add(label)
            objects = _read_objects(label, size, classes, source)
        images.append(LabelledImage(path, size, objects, split_in_name(path.parent, files.root)))
    require_images([str(label) for label in labels if label not in used], len(labels), "label files")
    _read_split_lists(files, description, source, images)
    return LabelledFolder(files.root, FORMAT_NAME, classes, images)


def _classes(files: Files) -> tuple[tuple[str, ...], dict[str, Any], Path]:
    """The class names, what the YAML file says, and the file that the names come from."""
    for path in files.yaml:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError) as error:
            raise UserError(f"not whole YAML: {path}\n{' '.join(str(error).split())}") from error
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, dict):
            if sorted(names) != list(range(len(names))):
                raise UserError(f"the names are not numbered from 0 to {len(names) - 1}: {path}")
            names = [names[number] for number in range(len(names))]
        if isinstance(names, list) and names:
            return tuple(map(str, names)), content, path
    for path in [*(path for path in files.txt if path.stem.lower() == "classes"), *files.names]:
        names = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        if names:
            return tuple(names), {}, path
    raise UserError(
        f"YOLO labels without the names of their classes: {files.root}\n"
        "Put data.yaml with `names: [...]`, or classes.txt with one name in a line, into the folder."
    )


def _label_of(image: Path) -> Path | None:
    """The text beside the image, or in labels/ where the image is in images/."""
    beside = image.with_suffix(".txt")
    if beside.is_file():
        return beside
    parts = list(image.parts)
    for place in reversed([number for number, part in enumerate(parts[:-1]) if part == "images"]):
        label = Path(*parts[:place], "labels", *parts[place + 1 :]).with_suffix(".txt")
        if label.is_file():
            return label
    return None


def _read_objects(label: Path, size: tuple[int, int], classes: tuple[str, ...], source: Path) -> list[LabelledObject]:
    objects = []
    for number, line in enumerate(label.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{label}, line {number}"
        try:
            values = [float(word) for word in line.split()]
        except ValueError as error:
            raise UserError(f"{place}: not all numbers: {line.strip()[:60]!r}\nExport it again.") from error
        is_box, is_polygon = len(values) == 5, len(values) >= 7 and len(values) % 2
        if not (is_box or is_polygon):
            raise UserError(f"{place}: {len(values)} numbers, neither a class and a box nor a polygon")
        if not all(math.isfinite(value) and -TOLERANCE <= value <= 1 + TOLERANCE for value in values[1:]):
            raise UserError(f"{place}: YOLO's coordinates are shares of the image, from 0 to 1: {line.strip()[:60]}")
        if values[0] not in range(len(classes)):
            raise UserError(f"{place}: class {values[0]:g}, but {source} names the classes 0 to {len(classes) - 1}")
        objects.append(LabelledObject(classes[int(values[0])], _bbox(values[1:], size)))
    return objects


def _bbox(shares: list[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size
    if len(shares) == 4:
        x, y, w, h = shares
        return (x - w / 2) * width, (y - h / 2) * height, w * width, h * height
    xs, ys = shares[0::2], shares[1::2]
    return min(xs) * width, min(ys) * height, (max(xs) - min(xs)) * width, (max(ys) - min(ys)) * height


def _read_split_lists(files: Files, description: dict[str, Any], source: Path, images: list[LabelledImage]) -> None:
    """Takes the splits from the folders and lists that data.yaml names, where they are there."""
    start = source.parent / str(description.get("path") or "")
    claimed: set[Path] = set()
    for split in ("train", "val", "test"):
        entries = description.get(split) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            # Roboflow writes ../train/images for what lies beside data.yaml.
            within = str(entry).removeprefix("../").removeprefix("./")
            places = [place for place in (start / str(entry), start / within, source.parent / within) if place.exists()]
            if not places:
                continue
            place = places[0].resolve()
            lines = [] if place.is_dir() else place.read_text(encoding="utf-8", errors="replace").splitlines()
            listed = {Path(line.strip()).name for line in lines}
            for image in images:
                inside = image.path.resolve().is_relative_to(place) or image.path.name in listed
                # Where one folder serves for two splits, the first keeps it.
                if inside and image.path not in claimed:
                    claimed.add(image.path)
                    image.split = split
