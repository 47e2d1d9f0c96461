"""Annotation files in COCO's and VOC's format, read without trust: what does not fit is a finding, never an error."""

from __future__ import annotations

import codecs
import json
import os
import reprlib
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import cv2
from mmdet.datasets import CocoDataset, XMLDataset
from mmengine.dataset import BaseDataset

from ghm_mmdet.data_check.findings import Findings, Kind, printable
from ghm_mmdet.errors import UserError, other_than_file

# Beyond this a box is infinite as soon as it is a float32 tensor.
LARGEST_NUMBER = 3.4e38
# Beyond this two ids are one as soon as numpy makes floats of them.
LARGEST_ID = 2**53
WITHOUT_MARK = "Save it as UTF-8 without one (in an editor, 'UTF-8' in place of 'UTF-8 with BOM' or 'UTF-16')."
VOC_OBJECT = "An object has a name, a bndbox of xmin, ymin, xmax and ymax in pixels, and 0 or 1 as difficult."
# Annotations round, and VOC's last pixel belongs to the box.
BORDER = 1
# Boxes near a border, none near the opposite one: a chance below 1 %.
LEAST_NEAR = 7


@dataclass
class ImageEntry:
    """An annotated image: (width, height), None where the file decides, and the number of its objects to learn from."""

    path: str
    size: tuple[float, float] | None
    learned: int = 0
    boxes: set = field(default_factory=set)


@dataclass
class AnnotationFile:
    """What a file holds of what the config asks for.

    objects: all that are annotated.
    left_out: those that mmdet does not learn from, by reason; None: crowds and difficult ones.
    labels: the class of each label, as mmdet numbers them.
    other_names: the names of objects that the config does not name.
    known: the names that the file has.
    """

    images: list[ImageEntry] = field(default_factory=list)
    objects: int = 0
    left_out: Counter = field(default_factory=Counter)
    labels: tuple[str, ...] = ()
    other_names: Counter = field(default_factory=Counter)
    known: set = field(default_factory=set)


def shown(value: Any) -> str:
    """A value from a file, short and safe to print."""
    return printable(value, 200) if isinstance(value, str) else quoted(value)


def quoted(value: Any) -> str:
    """As :func:`shown`, a text in quotes, since '1' and 1 are two ids."""
    return printable(reprlib.repr(value), 200)


def format_of(data_set: Any) -> str | None:
    """Returns "COCO" or "VOC" when mmdet's own reader of that format reads the data set's file, else None."""
    for name, base in (("COCO", CocoDataset), ("VOC", XMLDataset)):
        methods = ("load_data_list", "parse_data_info")
        if all(getattr(type(data_set), method, None) is getattr(base, method) for method in methods):
            return name
    return None


def read_annotations(data_set: BaseDataset, findings: Findings, content: Any = None) -> AnnotationFile:
    """Reads the annotations of a data set of mmdet's COCO or VOC format.

    Args:
        data_set: built with ``lazy_init=True``; only its paths, class names and filters are used.
        findings: takes what is wrong with the files and what mmdet would leave out.
        content: the JSON of a COCO file, where it has been read already.
    """
    try:
        if format_of(data_set) == "COCO":
            return read_coco(data_set, findings, coco_content(data_set.ann_file, content))
        return _VocReader(data_set, findings).read()
    except UserError as error:
        what, _, advice = str(error).partition("\n")
        findings.add(Kind.ANNOTATION_FILE, what, advice)
    except OSError as error:
        findings.add(Kind.ANNOTATION_FILE, f"{error.strerror}: {os.path.abspath(data_set.ann_file)}")
    return AnnotationFile()


def read_coco(data_set: Any, findings: Findings, content: dict[str, list]) -> AnnotationFile:
    """As :func:`read_annotations`, of what has been read already."""
    return _CocoReader(data_set, findings).read(content)


def parse_json(path: str) -> Any:
    """Returns the content; raises UserError when the file is not whole JSON in the form that pycocotools reads."""
    try:
        with open(path, "rb") as file:
            content = file.read()
        if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UserError(f"the annotation file begins with a byte-order mark: {path}\n{WITHOUT_MARK}")
        return json.loads(content.decode())
    # Besides broken JSON and text: a number of thousands of digits, brackets nested without end.
    except (ValueError, RecursionError) as error:
        message = f"the annotation file is not whole JSON in UTF-8 ({error}): {path}"
        begins = f"It begins with {content[:30]!r}. " if content else "It is empty. "
        raise UserError(f"{message}\n{begins}Mend that place, or copy, export or download it again.") from error


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


def category_names(content: dict[str, list], classes: Iterable[str]) -> tuple[str, ...]:
    """The classes in the order of the file's categories, which is how mmdet numbers the labels."""
    entries = [entry for entry in content["categories"] if isinstance(entry, dict)]
    return tuple(entry["name"] for entry in entries if entry.get("name") in tuple(classes))


class _Reader:
    def __init__(self, data_set: Any, findings: Findings):
        self.data_set = data_set
        self.findings = findings
        self.classes = tuple(data_set.metainfo.get("classes") or ())
        self.file = AnnotationFile()

    def leave_out(self, kind: Kind | None, place: str = "") -> None:
        self.file.left_out[kind] += 1
        if kind is not None:
            self.findings.add(kind, place)

    def other_class(self, name: str, place: str) -> None:
        self.file.other_names[name] += 1
        self.leave_out(Kind.OTHER_CLASS, f"{place}: {shown(name)!r}")

    def look_at_box(self, image: ImageEntry, name: str, corners: tuple, place: Callable[[], str]) -> Kind | None:
        """Adds what is suspicious of a box; returns why COCO's data set leaves it out, if it does."""

        def add(kind: Kind) -> None:
            self.findings.add(kind, f"{place()}: {shown(name)} {shown(list(corners))}")

        if (name, corners) in image.boxes:
            add(Kind.BOX_TWICE)
        image.boxes.add((name, corners))
        x1, y1, x2, y2 = corners
        width, height = image.size or (LARGEST_NUMBER, LARGEST_NUMBER)
        if x2 <= x1 or y2 <= y1:
            kind = Kind.ZERO_SIZE
        elif x2 - x1 < 1 or y2 - y1 < 1:
            kind = Kind.SUBPIXEL
        elif max(x1, 0) >= min(x2, width) or max(y1, 0) >= min(y2, height):
            kind = Kind.OUTSIDE
        else:
            if min(x1, y1) < -BORDER or x2 > width + BORDER or y2 > height + BORDER:
                add(Kind.BORDER)
            return None
        add(kind)
        return kind


class _CocoReader(_Reader):
    fit_as_corners = fit_as_centres = True
    beyond_end = near_end = 0

    def read(self, content: dict[str, list]) -> AnnotationFile:
        names = self.category_names(content["categories"])
        images: dict[Any, ImageEntry] = {}
        paths: set = set()
        folder = self.data_set.data_prefix.get("img") or ""
        for place, entry in self.whole_entries(content["images"], "images", IMAGE_FIELDS):
            if entry["id"] in images:
                self.findings.add(Kind.IMAGE_ID_TWICE, f"{place}: id {quoted(entry['id'])}")
            path = os.path.join(folder, entry["file_name"])
            if path in paths:
                self.findings.add(Kind.IMAGE_TWICE, f"{place}: {shown(entry['file_name'])}")
            paths.add(path)
            images[entry["id"]] = ImageEntry(path, (entry["width"], entry["height"]))
        if len({isinstance(image_id, str) for image_id in images}) > 1:
            texts = [image_id for image_id in images if isinstance(image_id, str)]
            self.findings.add(Kind.MIXED_IDS, f"{len(texts)} of {len(images)} are texts, such as {shown(texts[0])!r}")
        ids: set = set()
        for place, entry in self.whole_entries(content["annotations"], "annotations", ANNOTATION_FIELDS):
            self.file.objects += 1
            if entry["id"] in ids:
                self.findings.add(Kind.ANNOTATION_ID_TWICE, f"{place}: id {quoted(entry['id'])}")
            ids.add(entry["id"])
            image = images.get(entry["image_id"])
            if image is None:
                self.leave_out(Kind.UNKNOWN_IMAGE, f"{place}: image_id {quoted(entry['image_id'])}")
            else:
                self.read_object(entry, image, names)
        self.file.images = list(images.values())
        found = self.findings.by_kind
        beyond = sum(found[kind].count for kind in (Kind.BORDER, Kind.OUTSIDE) if kind in found)
        if beyond and self.fit_as_corners:
            self.findings.add(Kind.CORNERS, f"{beyond:,} boxes are beyond the border, as corners all are inside")
        elif self.beyond_end and self.fit_as_centres and self.near_end >= LEAST_NEAR:
            where = f"{self.beyond_end:,} boxes are beyond the right or lower border, as centres all are inside"
            self.findings.add(Kind.CENTRES, where)
        return self.file

    def read_object(self, entry: dict, image: ImageEntry, names: dict) -> None:
        wrong = _misfits(entry, BOX_FIELDS)

        def place() -> str:
            return f"{image.path}, annotation {quoted(entry['id'])}"

        if wrong:
            self.findings.add(Kind.WRONG_FIELD, f"{place()}: {_fields(wrong)}")
        elif entry["category_id"] not in names:
            self.findings.add(Kind.CATEGORY_UNKNOWN, f"{place()}: category_id {quoted(entry['category_id'])}")
        elif entry.get("ignore"):
            self.leave_out(Kind.IGNORE_FIELD, place())
        elif (name := names[entry["category_id"]]) not in self.classes:
            self.other_class(name, place())
        elif entry.get("iscrowd"):
            self.leave_out(None)
        else:
            x, y, width, height = entry["bbox"]
            if image.size:
                self.fit_as_corners &= x < width <= image.size[0] + BORDER and y < height <= image.size[1] + BORDER
                self.read_as_centres([(x, width, image.size[0]), (y, height, image.size[1])])
            kind = self.look_at_box(image, name, (x, y, x + width, y + height), place)
            if kind is not None:
                self.file.left_out[kind] += 1
            elif entry["area"] <= 0:
                self.leave_out(Kind.AREA_FIELD, place())
            else:
                image.learned += 1

    def read_as_centres(self, sides: list[tuple[float, float, float]]) -> None:
        """Counts boxes by their distance to the border; each side is given by its start, length and the image's.

        A centre is never nearer than half a box to a border. So boxes read from centres keep half a box away from the
        left and the upper border, all of them, while they come near the others and lie beyond them. Of boxes read
        rightly as many are near the one border as near the other, and n near the second and none near the first has
        the probability 2^-n.
        """
        self.beyond_end += any(start + length > whole + BORDER for start, length, whole in sides)
        for start, length, whole in sides:
            self.fit_as_centres &= start - length / 2 >= -BORDER and start + length / 2 <= whole + BORDER
            self.near_end += whole - start - length < length / 2

    def category_names(self, categories: list) -> dict[Any, str]:
        """Names by category id; finds what makes mmdet number the classes otherwise than the config does."""
        path = os.path.abspath(self.data_set.ann_file)
        names: dict[Any, str] = {}
        for place, entry in self.whole_entries(categories, "categories", CATEGORY_FIELDS):
            if entry["id"] in names:
                self.findings.add(Kind.CATEGORY_ID_TWICE, f"{place}: id {quoted(entry['id'])}")
            names[entry["id"]] = entry["name"]
        self.file.known = set(names.values())
        used = self.file.labels = tuple(name for name in names.values() if name in self.classes)
        twice = sorted({name for name in used if used.count(name) > 1})
        if twice:
            self.findings.add(Kind.CATEGORY_NAME_TWICE, f"{path}: {shown(', '.join(twice))}")
        elif not used:
            self.findings.add(
                Kind.NO_KNOWN_CLASS, f"{shown(list(self.classes))} and {shown(list(names.values()))}, {path}"
            )
        elif used != self.classes[: len(used)]:
            where = f"{path}: the file has {shown(list(used))}, the config {shown(list(self.classes))}"
            self.findings.add(Kind.LABEL_NAMES, where)
        return names

    def whole_entries(self, entries: list, what: str, fields: dict) -> Iterable[tuple[str, dict]]:
        for number, entry in enumerate(entries):
            place = f"{what}[{number}]"
            if not isinstance(entry, dict):
                self.findings.add(Kind.NOT_AN_OBJECT, f"{place} is {shown(entry)}")
                continue
            wrong = _misfits(entry, fields)
            if wrong:
                self.findings.add(Kind.WRONG_FIELD, f"{place}: {_fields(wrong)}")
            else:
                yield place, entry


class _VocReader(_Reader):
    def read(self) -> AnnotationFile:
        """Raises UserError when the list of images is not text."""
        data_set, list_file = self.data_set, os.path.abspath(self.data_set.ann_file)
        self.file.labels = self.classes
        try:
            with open(list_file, encoding="utf-8", newline="\n") as file:
                names = [line.rstrip("\r\n") for line in file]
        except ValueError as error:
            raise UserError(f"the list of images is not text in UTF-8 ({error}): {list_file}") from error
        if names and names[0].startswith("\ufeff"):
            raise UserError(f"the list of images begins with a byte-order mark: {list_file}\n{WITHOUT_MARK}")
        seen: set = set()
        for number, name in enumerate(names, start=1):
            if name in seen:
                self.findings.add(Kind.IMAGE_TWICE, f"{list_file}, line {number}: {shown(name)}")
            seen.add(name)
            xml_path = os.path.join(data_set.sub_data_root, data_set.ann_subdir, f"{name}.xml")
            if not os.path.isfile(xml_path):
                other = other_than_file(xml_path)
                what = f"{os.path.abspath(xml_path)}{other and f' is {other}, not a file'} (line {number} of the list)"
                self.findings.add(Kind.XML_MISSING, what)
                continue
            image = ImageEntry(os.path.join(data_set.sub_data_root, data_set.img_subdir, f"{name}.jpg"), None)
            try:
                root = ElementTree.parse(xml_path).getroot()
                size = root.find("size")
                if size is not None:
                    image.size = (_number(size, "width", int), _number(size, "height", int))
                objects, seen_by_mmdet = sum(map(_is_object, root.iter())), len(root.findall("object"))
                if objects > seen_by_mmdet:
                    raise ValueError(
                        f"{objects - seen_by_mmdet} of {objects} objects are not plain <object> below its root"
                    )
            # An encoding that Python does not know is a LookupError.
            except (ElementTree.ParseError, ValueError, LookupError) as error:
                self.findings.add(Kind.XML_BROKEN, f"{xml_path}: {error}")
                continue
            # mmdet takes the size from the image where the file says none.
            if image.size is None and (other := other_than_file(image.path)):
                self.findings.add(Kind.IMAGE_MISSING, f"{os.path.abspath(image.path)} is {other}, not a file")
                continue
            if image.size is None and os.path.isfile(image.path) and cv2.imread(image.path) is None:
                self.findings.add(Kind.IMAGE_BROKEN, f"{os.path.abspath(image.path)}, and no size in {xml_path}")
                continue
            for index, item in enumerate(root.findall("object"), start=1):
                self.read_object(item, f"{xml_path}, object {index}", image)
            self.file.images.append(image)
        return self.file

    def read_object(self, item: ElementTree.Element, place: str, image: ImageEntry) -> None:
        self.file.objects += 1
        try:
            name = _text(item, "name")
            self.file.known.add(name)
            if name not in self.classes:
                self.other_class(name, place)
                return
            difficult = item.find("difficult") is not None and bool(_number(item, "difficult", int))
            box = _only(item, "bndbox")
            # mmdet counts VOC's pixels from 0, and cuts off fractions.
            corners = tuple(int(_number(box, key, float)) - 1 for key in ("xmin", "ymin", "xmax", "ymax"))
            if not all(map(_is_number, corners)):
                raise ValueError(f"bndbox is {shown(corners)}")
        except (ValueError, OverflowError) as error:
            self.findings.add(Kind.WRONG_FIELD, f"{place}: {shown(str(error))}", VOC_OBJECT)
            return
        smallest = self.data_set.bbox_min_size
        side = min(corners[2] - corners[0], corners[3] - corners[1])
        if difficult:
            self.leave_out(None)
        # What has no area, VOC's data set keeps.
        elif self.look_at_box(image, name, corners, lambda: place) is None and smallest is not None and side < smallest:
            self.leave_out(Kind.BELOW_MIN_SIZE, f"{place}: {shown(name)} {shown(list(corners))}")
        elif smallest is not None and side < smallest:
            self.file.left_out[Kind.BELOW_MIN_SIZE] += 1
        else:
            image.learned += 1


def _only(element: ElementTree.Element, key: str) -> ElementTree.Element:
    found = element.findall(key)
    if len(found) != 1:
        raise ValueError(f"{len(found)} {key} in place of one" if found else f"no {key}")
    return found[0]


def _text(element: ElementTree.Element, key: str) -> str:
    text = _only(element, key).text
    if not text:
        raise ValueError(f"no {key}")
    return text


def _number(element: ElementTree.Element, key: str, kind: type) -> float:
    text = _text(element, key)
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"{key} is {text!r}") from error


def _is_object(element: ElementTree.Element) -> bool:
    """Whether this is meant for an object, in whatever namespace and case."""
    return isinstance(element.tag, str) and element.tag.rpartition("}")[2].lower() == "object"


def _misfits(entry: dict, fields: dict) -> dict:
    """The fields whose value is not of the kind that is needed, and the value."""
    return {key: entry.get(key) for key, fits in fields.items() if not fits(entry.get(key))}


def _fields(wrong: dict) -> str:
    return ", ".join(f"{key} is {quoted(value)}" for key, value in wrong.items())


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and -LARGEST_NUMBER <= value <= LARGEST_NUMBER


def _is_size(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) or (_is_number(value) and abs(value) <= LARGEST_ID)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


def is_segmentation(value: Any) -> bool:
    """Whether pycocotools makes a mask of it: polygons of three corners or more, or a run-length code."""
    if isinstance(value, dict):
        return isinstance(value.get("counts"), (str, list)) and isinstance(value.get("size"), list)
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(corners, list) and len(corners) >= 6 and len(corners) % 2 == 0 and all(map(_is_number, corners))
            for corners in value
        )
    )


def _is_flag(value: Any) -> bool:
    return value is None or (isinstance(value, (bool, int, float)) and value in (0, 1))


IMAGE_FIELDS = {"id": _is_id, "file_name": _is_text, "width": _is_size, "height": _is_size}
CATEGORY_FIELDS = {"id": _is_id, "name": _is_text}
ANNOTATION_FIELDS = {"id": _is_id, "image_id": _is_id, "category_id": _is_id}
# The evaluator needs iscrowd as a number, where training would take any text for a crowd.
BOX_FIELDS = {"bbox": _is_box, "area": _is_number, "iscrowd": _is_flag, "ignore": _is_flag}
