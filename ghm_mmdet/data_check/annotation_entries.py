"""Annotation files in COCO's and VOC's format, read without trust: what does not fit is reported, never raised."""

from __future__ import annotations

import contextlib
import json
import os
import reprlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mmdet.datasets import CocoDataset, XMLDataset
from mmengine.dataset import BaseDataset
from PIL import Image

from ghm_mmdet.errors import UserError

# Beyond this a box is infinite as soon as it is a float32 tensor.
LARGEST_NUMBER = 3.4e38
SHOWN = 3


@dataclass
class Finding:
    """One kind of problem: how often it was seen, and the first places."""

    count: int = 0
    places: list[str] = field(default_factory=list)


class Findings:
    """Problems by kind, those that break training apart from those that are suspicious only."""

    def __init__(self) -> None:
        self.breaking: dict[str, Finding] = {}
        self.suspicious: dict[str, Finding] = {}

    def breaks(self, kind: str, place: str) -> None:
        _count(self.breaking, kind, place)

    def suspects(self, kind: str, place: str) -> None:
        _count(self.suspicious, kind, place)


def _count(findings: dict[str, Finding], kind: str, place: str) -> None:
    finding = findings.setdefault(kind, Finding())
    finding.count += 1
    if len(finding.places) < SHOWN:
        finding.places.append(printable(place, 500))


@dataclass(frozen=True)
class Box:
    """An annotated object.

    place: the entry it comes from, in words.
    class_name: of a class that the config knows.
    corners: x1, y1, x2, y2 in pixels.
    crowd: a region that training ignores: COCO's iscrowd, VOC's difficult.
    """

    place: str
    class_name: str
    corners: tuple[float, float, float, float]
    crowd: bool

    @property
    def size(self) -> tuple[float, float]:
        """Width and height."""
        x1, y1, x2, y2 = self.corners
        return x2 - x1, y2 - y1

    def is_in(self, image_size: tuple[float, float] | None) -> bool:
        """Whether a part of it that has an area lies in an image of this (width, height)."""
        x1, y1, x2, y2 = self.corners
        right, bottom = image_size or (LARGEST_NUMBER, LARGEST_NUMBER)
        return max(x1, 0) < min(x2, right) and max(y1, 0) < min(y2, bottom)


@dataclass
class ImageEntry:
    """An annotated image; size is (width, height), None where the annotation leaves it to the file."""

    path: str
    size: tuple[float, float] | None
    boxes: list[Box] = field(default_factory=list)


def shown(value: Any) -> str:
    """A value from a file, short and safe to print."""
    return printable(value if isinstance(value, str) else reprlib.repr(value), 200)


def printable(text: str, most: int) -> str:
    """Without line breaks, escapes and lone surrogates, all of which names in a file may hold."""
    text = text if len(text) <= most else text[: most - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: Exception) -> str:
    return " ".join(str(error).splitlines())


def format_of(data_set: Any) -> str | None:
    """Returns "COCO" or "VOC" when mmdet's own reader of that format reads the data set's file, else None."""
    for name, base in (("COCO", CocoDataset), ("VOC", XMLDataset)):
        own = all(
            getattr(type(data_set), method, None) is getattr(base, method)
            for method in ("load_data_list", "parse_data_info")
        )
        if own:
            return name
    return None


def read_entries(data_set: BaseDataset, findings: Findings, content: Any = None) -> list[ImageEntry]:
    """Reads the annotations of a data set of mmdet's COCO or VOC format.

    Args:
        data_set: built with ``lazy_init=True``; only its paths and class names are used.
        findings: takes what is wrong with the files and what mmdet would silently leave out.
        content: the JSON of a COCO file, where it has been read already.

    Returns:
        The images whose entries are whole, with the boxes of the config's classes.
    """
    try:
        if format_of(data_set) == "COCO":
            return read_coco(data_set, findings, content)
        return read_voc(data_set, findings)
    except UserError as error:
        findings.breaks("annotation file", one_line(error))
    except OSError as error:
        findings.breaks("annotation file", f"{error.strerror}: {os.path.abspath(data_set.ann_file)}")
    return []


def parse_json(path: str) -> Any:
    """Returns the content; raises UserError when the file is not whole JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    # Besides broken JSON and text: a number of thousands of digits, brackets nested without end.
    except (ValueError, RecursionError) as error:
        message = f"the annotation file is not whole JSON ({error}): {path}\nCopy or download it again."
        raise UserError(message) from error


def coco_content(path: str, content: Any = None) -> dict[str, list]:
    """The lists images, annotations and categories of a COCO file; its JSON may be given, to not read it again.

    Raises:
        UserError: the file is not JSON, or lacks one of the lists; no annotations at all is allowed.
    """
    content = parse_json(path) if content is None else content
    if not isinstance(content, dict):
        raise UserError(f"no COCO annotation file, it holds {shown(content)}: {os.path.abspath(path)}")
    lists = {"annotations": [], **content}
    lacks = [key for key in ("images", "annotations", "categories") if not isinstance(lists.get(key), list)]
    if lacks:
        raise UserError(f"no COCO annotation file, it has no list {', '.join(lacks)}: {os.path.abspath(path)}")
    return lists


def read_coco(data_set: CocoDataset, findings: Findings, content: Any = None) -> list[ImageEntry]:
    """As :func:`read_entries`; raises UserError for a file that is no COCO file at all."""
    content = coco_content(data_set.ann_file, content)
    class_names = _category_names(content["categories"], data_set, findings)
    images: dict[Any, ImageEntry] = {}
    for place, entry in _whole_entries(content["images"], "images", IMAGE_FIELDS, findings):
        if entry["id"] in images:
            findings.suspects("image ids used twice (mmdet keeps the last image)", f"{place}: id {shown(entry['id'])}")
        path = os.path.join(data_set.data_prefix.get("img", ""), entry["file_name"])
        images[entry["id"]] = ImageEntry(path, (entry["width"], entry["height"]))
    annotation_ids = set()
    for place, entry in _whole_entries(content["annotations"], "annotations", ANNOTATION_FIELDS, findings):
        if entry["id"] in annotation_ids:
            findings.breaks("annotation ids used twice", f"{place}: id {shown(entry['id'])}")
        annotation_ids.add(entry["id"])
        image = images.get(entry["image_id"])
        if image is None:
            findings.suspects(
                "annotations of an unknown image (mmdet drops them)", f"{place}: image_id {shown(entry['image_id'])}"
            )
            continue
        place = f"annotation {shown(entry['id'])}"
        if entry.get("ignore"):
            continue
        wrong = {key: entry.get(key) for key, fits in BOX_FIELDS.items() if not fits(entry.get(key))}
        if wrong:
            findings.breaks("boxes that are missing or not finite numbers", f"{image.path}, {place}: {_fields(wrong)}")
            continue
        if entry["category_id"] not in class_names:
            kind = "unknown category ids, not among the file's categories"
            findings.breaks(kind, f"{image.path}, {place}: category_id {shown(entry['category_id'])}")
            continue
        name = class_names[entry["category_id"]]
        if name not in data_set.metainfo["classes"]:
            findings.suspects(OTHER_CLASSES, f"{image.path}, {place}: {shown(name)}")
            continue
        x, y, width, height = entry["bbox"]
        if entry["area"] <= 0 < min(width, height):
            findings.suspects("boxes with an area field of 0 or less (mmdet drops them)", f"{image.path}, {place}")
        image.boxes.append(Box(place, name, (x, y, x + width, y + height), bool(entry.get("iscrowd"))))
    return list(images.values())


def _category_names(categories: list, data_set: CocoDataset, findings: Findings) -> dict[Any, str]:
    """Names by category id; reports what makes mmdet number the classes otherwise than the config does."""
    path = os.path.abspath(data_set.ann_file)
    names: dict[Any, str] = {}
    for place, entry in _whole_entries(categories, "categories", CATEGORY_FIELDS, findings):
        if entry["id"] in names:
            findings.breaks("category ids used twice", f"{place}: id {shown(entry['id'])}")
        names[entry["id"]] = entry["name"]
    classes = list(data_set.metainfo.get("classes") or ())
    used = [name for name in names.values() if name in classes]
    if len(set(used)) < len(used):
        twice = sorted({name for name in used if used.count(name) > 1})
        findings.breaks("category names used twice", f"{path}: {shown(', '.join(twice))}")
    elif not used:
        findings.breaks(
            "class list",
            f"none of the config's classes ({shown(classes)}) is among {shown(list(names.values()))}",
        )
    elif used != classes:
        findings.suspects(
            OTHER_ORDER,
            f"{path}: {shown(used)}, the config has {shown(classes)}",
        )
    return names


def _whole_entries(entries: list, what: str, fields: dict, findings: Findings) -> Iterable[tuple[str, dict]]:
    for number, entry in enumerate(entries):
        place = f"{what}[{number}]"
        if not isinstance(entry, dict):
            findings.breaks(f"{what} that are no objects", f"{place} is {shown(entry)}")
            continue
        wrong = {key: entry.get(key) for key, fits in fields.items() if not fits(entry.get(key))}
        if wrong:
            findings.breaks(f"{what} with a missing or wrong field", f"{place}: {_fields(wrong)}")
            continue
        yield place, entry


def _fields(wrong: dict) -> str:
    return ", ".join(f"{key} is {shown(value)}" for key, value in wrong.items())


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and -LARGEST_NUMBER <= value <= LARGEST_NUMBER


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_id(value: Any) -> bool:
    return _is_number(value) or isinstance(value, str)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


OTHER_ORDER = (
    "class list that differs from the file's categories (mmdet numbers the classes in the file's order, so names and "
    "labels do not belong together)"
)
OTHER_CLASSES = "objects of classes that the config leaves out (mmdet drops them)"
IMAGE_FIELDS = {"id": _is_id, "file_name": _is_text, "width": _is_number, "height": _is_number}
CATEGORY_FIELDS = {"id": _is_id, "name": _is_text}
ANNOTATION_FIELDS = {"id": _is_id, "image_id": _is_id, "category_id": _is_id}
BOX_FIELDS = {"bbox": _is_box, "area": _is_number}


def read_voc(data_set: XMLDataset, findings: Findings) -> list[ImageEntry]:
    """As :func:`read_entries`; raises UserError when the list of images is not text."""
    try:
        with open(data_set.ann_file, encoding="utf-8") as file:
            image_ids = file.read().splitlines()
    except ValueError as error:
        raise UserError(f"the list of images is not text ({error}): {os.path.abspath(data_set.ann_file)}") from error
    seen = set()
    images = []
    for number, image_id in enumerate(image_ids, start=1):
        if image_id in seen:
            findings.suspects("images listed twice", f"{os.path.abspath(data_set.ann_file)}, line {number}")
        seen.add(image_id)
        xml_path = os.path.join(data_set.sub_data_root, data_set.ann_subdir, f"{image_id}.xml")
        if not os.path.isfile(xml_path):
            findings.breaks("annotation files not found", f"{os.path.abspath(xml_path)} (line {number} of the list)")
            continue
        entry = ImageEntry(os.path.join(data_set.sub_data_root, data_set.img_subdir, f"{image_id}.jpg"), None)
        try:
            root = ElementTree.parse(xml_path).getroot()
            size = root.find("size")
            if size is not None:
                entry.size = (int(_text(size, "width")), int(_text(size, "height")))
        # An encoding that Python does not know is a LookupError.
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            findings.breaks("annotation files that are not whole XML, or without a size", f"{xml_path}: {error}")
            continue
        for index, item in enumerate(root.findall("object"), start=1):
            _read_voc_object(item, f"object {index}", entry, xml_path, data_set.metainfo["classes"], findings)
        images.append(entry)
    return images


def _read_voc_object(
    item: ElementTree.Element, place: str, entry: ImageEntry, xml_path: str, classes: tuple, findings: Findings
) -> None:
    try:
        name = _text(item, "name")
        if name not in classes:
            findings.suspects(OTHER_CLASSES, f"{xml_path}, {place}: {shown(name)}")
            return
        difficult = item.find("difficult") is not None and bool(int(_text(item, "difficult")))
        box = item.find("bndbox")
        if box is None:
            raise ValueError("no bndbox")
        # mmdet counts VOC's pixels from 0.
        corners = tuple(int(float(_text(box, key))) - 1 for key in ("xmin", "ymin", "xmax", "ymax"))
        if not all(map(_is_number, corners)):
            raise ValueError(f"bndbox is {shown(corners)}")
    except (ValueError, OverflowError) as error:
        findings.breaks("objects with a missing or wrong field", f"{xml_path}, {place}: {shown(str(error))}")
        return
    entry.boxes.append(Box(place, name, corners, difficult))


def unusable_images(entries: Iterable[ImageEntry]) -> tuple[list[str], list[str]]:
    """The paths that are no files, and those of empty files; each folder is listed once, for speed."""
    by_folder: dict[str, list[str]] = {}
    for entry in entries:
        by_folder.setdefault(os.path.dirname(entry.path) or ".", []).append(entry.path)
    gone, empty = [], []
    for folder, paths in by_folder.items():
        sizes = {}
        # A name with a null character is a ValueError.
        with contextlib.suppress(OSError, ValueError), os.scandir(folder) as files:
            sizes = {file.name: file.stat().st_size for file in files if file.is_file()}
        gone += [path for path in paths if os.path.basename(path) not in sizes]
        empty += [path for path in paths if sizes.get(os.path.basename(path)) == 0]
    return gone, empty


def image_size(path: str) -> tuple[int, int] | None:
    """(width, height) from the head of the file, None where it is no image."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError):
        return None


def _text(element: ElementTree.Element, key: str) -> str:
    text = element.findtext(key)
    if not text:
        raise ValueError(f"no {key}")
    return text
