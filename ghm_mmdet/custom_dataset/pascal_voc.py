"""PASCAL VOC's XML, with ImageSets or without, in folders of its own or beside the images as LabelImg has it."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from ghm_mmdet.custom_dataset.files import Files, nearest, read_lines, require_images, split_in_name
from ghm_mmdet.custom_dataset.labelled_images import LabelledFolder, LabelledImage, LabelledObject, image_size
from ghm_mmdet.errors import UserError

FORMAT_NAME = "PASCAL VOC XML"
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def find_voc_labels(files: Files) -> list[Path]:
    """The XML files whose root is an annotation of an image.

    Raises:
        UserError: a file is not whole XML, or is the one file of CVAT's own format.
    """
    labels = []
    for path in files.xml:
        try:
            root = next(ElementTree.iterparse(path, events=("start",)))[1].tag
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}\nMake it readable, or take it away.") from error
        except (ElementTree.ParseError, ValueError, LookupError, StopIteration) as error:
            raise UserError(f"not whole XML ({error}): {path}\nExport it again, or take it away.") from error
        if root == "annotations":
            raise UserError(f"CVAT's own XML is not read: {path}\nExport from CVAT as COCO 1.0 or PASCAL VOC 1.1.")
        if root == "annotation":
            labels.append(path)
    return labels


def read_voc(files: Files, labels: list[Path]) -> LabelledFolder:
    """Reads every annotation; images without one are not labelled yet and are left out."""
    images, missing = [], []
    for label in labels:
        root = _parse(label)
        path = _image_of(files, label, root)
        if path is None:
            missing.append(str(label))
            continue
        size = _annotated_size(root) or image_size(path)
        objects = [
            _read_object(element, number, label) for number, element in enumerate(root.findall("object"), start=1)
        ]
        images.append(LabelledImage(path, size, objects, split_in_name(path.parent, files.root)))
    require_images(missing, len(labels), "XML files")
    _require_one_label_each(images, labels)
    classes = sorted({labelled.class_name for image in images for labelled in image.objects})
    folder = LabelledFolder(files.root, FORMAT_NAME, tuple(classes), images)
    if len(files.images) > len(images):
        folder.notes.append(f"{len(files.images) - len(images)} images without an XML file are left out")
    _read_image_sets(files, folder)
    return folder


def _parse(label: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(label).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"not whole XML ({error}): {label}\nExport it again, or take it away.") from error


def _image_of(files: Files, label: Path, root: ElementTree.Element) -> Path | None:
    """By the label's own name; where that fails, by the name that the label gives.

    VOC's folders of segmentations hold pictures of the same name with another ending.
    """
    named = (root.findtext("filename") or "").strip().replace("\\", "/").rsplit("/", 1)[-1]
    of_stem = files.images_of_stem(label.stem)
    of_both = [path for path in of_stem if path.name == named]
    return nearest(of_both or of_stem or files.images_of_name(named), label)


def _annotated_size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        width, height = (int(root.findtext(f"size/{key}") or 0) for key in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if min(width, height) > 0 else None


def _read_object(element: ElementTree.Element, number: int, label: Path) -> LabelledObject:
    try:
        left, top, right, bottom = (float(element.findtext(f"bndbox/{key}") or "nan") for key in CORNERS)
        ignored = bool(int(element.findtext("difficult") or 0))
    except ValueError as error:
        raise UserError(f"{label}, object {number}: {error}\nMend it in the label tool.") from error
    name = element.findtext("name")
    if name is None or not all(map(math.isfinite, (left, top, right, bottom))):
        lacks = "no name" if name is None else "no bndbox of four numbers"
        raise UserError(f"{label}, object {number}: it has {lacks}\nMend it in the label tool.")
    # VOC counts pixels from 1; mmdet subtracts 1 from every corner as well.
    return LabelledObject(name, (left - 1, top - 1, right - left, bottom - top), ignored)


def _require_one_label_each(images: list[LabelledImage], labels: list[Path]) -> None:
    seen: dict[Path, Path] = {}
    for image, label in zip(images, labels):
        if image.path in seen:
            raise UserError(
                f"two XML files label the image {image.path}: {seen[image.path]} and {label}\nTake one away."
            )
        seen[image.path] = label


def _read_image_sets(files: Files, folder: LabelledFolder) -> None:
    """Takes the splits from ImageSets/Main/{train,val,test}.txt; an image in none of them is left out, with a note."""
    lists = [path for path in files.txt if path.parent.name == "Main" and path.parent.parent.name == "ImageSets"]
    splits: dict[str, str] = {}
    for name, split in (("trainval", "train"), ("train", "train"), ("val", "val"), ("test", "test")):
        for path in lists:
            if path.stem == name:
                splits.update((Path(line).name, split) for line in read_lines(path) if line)
    if not splits:
        return
    for image in folder.images:
        # Some exports list the names of files.
        image.split = splits.get(image.path.stem) or splits.get(image.path.name)
    listed = [image for image in folder.images if image.split]
    if not listed:
        raise UserError(
            f"none of the {len(splits)} names in {lists[0].parent} is an image of the folder\n"
            "Mend the lists, or take ImageSets away for a split of our own."
        )
    if len(listed) < len(folder.images):
        folder.notes.append(f"{len(folder.images) - len(listed)} images that no list of ImageSets names are left out")
    folder.images = listed
