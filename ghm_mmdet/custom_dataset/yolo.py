"""YOLO's text files, boxes or polygons, in labels/ or beside the images.

The classes are named in data.yaml, classes.txt or obj.names.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from ghm_mmdet.custom_dataset.files import Files, nearest, read_bytes, read_lines, require_images, split_in_name
from ghm_mmdet.custom_dataset.labelled_images import LabelledFolder, LabelledImage, LabelledObject, image_size
from ghm_mmdet.errors import UserError

FORMAT_NAME = "YOLO text"
# Text files of a YOLO export that hold no boxes.
OTHER_TEXTS = ("train", "val", "valid", "test", "readme", "notes")
# Ultralytics clips what a label is beyond the border by rounding.
TOLERANCE = 0.01


def find_yolo_labels(files: Files) -> list[Path]:
    """The text files that lie in a folder named labels, or beside an image of their name."""
    images = {image.with_suffix("") for image in files.images}

    def is_other(stem: str) -> bool:
        # An image may be called test.jpg as well.
        return stem.startswith("readme.") or (stem in OTHER_TEXTS and not files.images_of_stem(stem))

    return [
        path
        for path in files.txt
        if path.stem.lower() != "classes" and not is_other(path.stem.lower())
        if "labels" in path.relative_to(files.root).parts[:-1] or path.with_suffix("") in images
    ]


def read_yolo(files: Files, labels: list[Path]) -> LabelledFolder:
    """Reads every label; an image without one, where others have some, has no object, as YOLO has it."""
    classes, description, source = _classes(files)
    label_of = _labels_of_images(files, labels)
    require_images([str(label) for label in sorted({*labels} - {*label_of.values()})], len(labels), "label files")
    # Masks or previews in a folder of their own are no background.
    labelled_folders = {path.parent for path in label_of}
    numbers = _numbers_of_keypoints(description, source)
    images = []
    for path in files.images:
        if path in label_of or path.parent in labelled_folders or _beside_labels(path) is not None:
            size = image_size(path)
            objects = _read_objects(label_of[path], size, classes, source, numbers) if path in label_of else []
            images.append(LabelledImage(path, size, objects, split_in_name(path.parent, files.root)))
    _read_split_lists(files, description, source, images)
    folder = LabelledFolder(files.root, FORMAT_NAME, classes, images)
    if len(images) > len(label_of):
        folder.notes.append(
            f"{len(images) - len(label_of)} images without a label file count as images without objects"
        )
    if len(files.images) > len(images):
        folder.notes.append(f"{len(files.images) - len(images)} images in folders without labels are left out")
    return folder


def _classes(files: Files) -> tuple[tuple[str, ...], dict[str, Any], Path]:
    """The class names, what the YAML file says, and the file that the names come from.

    Raises:
        UserError: there are none, or two files say different ones.
    """
    described = [(path, content) for path in files.yaml if (content := _description(path)).get("names")]
    # A training's settings, which may lie beside the data, name no images.
    described = [each for each in described if "train" in each[1] or "val" in each[1]] or described
    lists = [path for path in files.txt if path.stem.lower() == "classes"] + files.names
    found = [(_names(content["names"], path), content, path) for path, content in described] or [
        (names, {}, path) for path in lists if (names := tuple(line for line in read_lines(path) if line))
    ]
    if not found:
        raise UserError(
            f"YOLO labels without the names of their classes: {files.root}\n"
            "Put data.yaml with `names: [...]`, or classes.txt with one name in a line, into the folder."
        )
    for names, _, path in found:
        if names != found[0][0]:
            raise UserError(f"two files name different classes: {found[0][2]} and {path}\nTake the wrong one away.")
    return found[0]


def _description(path: Path) -> dict[str, Any]:
    """What a YAML file holds, all values as they are written: a class may be called `no` or `1`."""
    try:
        content = yaml.load(read_bytes(path), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"not whole YAML: {path}\n{' '.join(str(error).split())}") from error
    found = content if isinstance(content, dict) else {}
    return found if isinstance(found.get("names"), (list, dict)) else {}


def _names(names: list[Any] | dict[Any, Any], path: Path) -> tuple[str, ...]:
    if isinstance(names, dict):
        if not {*names} <= {str(number) for number in range(len(names))}:
            raise UserError(f"the names are not numbered from 0 to {len(names) - 1}: {path}")
        names = [names[str(number)] for number in range(len(names))]
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"a class is named by something else than a word: {path}")
    return tuple(names)


def _numbers_of_keypoints(description: dict[str, Any], source: Path) -> int:
    """How many numbers the keypoints of an object are, which follow its box; 0 without."""
    shape = description.get("kpt_shape") or ["0"]
    if not isinstance(shape, list) or not all(isinstance(each, str) and each.isdigit() for each in shape):
        raise UserError(f"kpt_shape is {shape!r}, no list of two numbers: {source}")
    return math.prod(map(int, shape))


def _labels_of_images(files: Files, labels: list[Path]) -> dict[Path, Path]:
    """The label of each image that has one: beside it, in labels/ for images/, else the nearest of its name."""
    found: dict[Path, Path] = {}
    waiting = {*labels}
    for path in files.images:
        beside = _beside_labels(path)
        places = [path.with_suffix(suffix) for suffix in (".txt", ".TXT")]
        places += [] if beside is None else [beside.with_suffix(suffix) for suffix in (".txt", ".TXT")]
        label = next((place for place in places if place in waiting), None)
        if label is not None:
            found[path] = label
    for label in sorted(waiting - {*found.values()}):
        image = nearest((path for path in files.images_of_stem(label.stem) if path not in found), label)
        if image is not None:
            found[image] = label
    return found


def _beside_labels(image: Path) -> Path | None:
    """The same path with labels/ for images/, where there is a folder of that name."""
    parts = list(image.parts)
    for place in reversed([number for number, part in enumerate(parts[:-1]) if part == "images"]):
        if Path(*parts[:place], "labels").is_dir():
            return Path(*parts[:place], "labels", *parts[place + 1 :])
    return None


def _read_objects(
    label: Path, size: tuple[int, int], classes: tuple[str, ...], source: Path, keypoints: int
) -> list[LabelledObject]:
    objects = []
    for number, line in enumerate(read_lines(label), start=1):
        if not line:
            continue
        place = f"{label}, line {number}"
        try:
            values = [float(word) for word in line.split()]
        except ValueError as error:
            raise UserError(f"{place}: not all numbers: {line[:60]!r}\nExport it again.") from error
        if keypoints and len(values) == 5 + keypoints:
            values = values[:5]
        is_box, is_polygon = len(values) == 5, len(values) >= 7 and len(values) % 2
        if not (is_box or is_polygon):
            raise UserError(f"{place}: {len(values)} numbers, neither a class and a box nor a polygon")
        if not all(math.isfinite(value) and -TOLERANCE <= value <= 1 + TOLERANCE for value in values[1:]):
            raise UserError(f"{place}: YOLO's coordinates are shares of the image, from 0 to 1: {line[:60]}")
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
            listed = set() if place.is_dir() else {Path(line).name for line in read_lines(place)}
            for image in images:
                inside = image.path.resolve().is_relative_to(place) or image.path.name in listed
                # Where one folder serves for two splits, the first keeps it.
                if inside and image.path not in claimed:
                    claimed.add(image.path)
                    image.split = split
