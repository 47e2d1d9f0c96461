"""COCO's JSON under any name, as CVAT, Roboflow and Label Studio export it, with the images wherever they lie."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ghm_mmdet.custom_dataset.files import Files, nearest, read_bytes, require_images, split_in_name
from ghm_mmdet.custom_dataset.labelled_images import LabelledFolder, LabelledImage, LabelledObject, image_size
from ghm_mmdet.errors import UserError

FORMAT_NAME = "COCO JSON"
LISTS = ("images", "annotations", "categories")


def find_coco_files(files: Files) -> dict[Path, dict[str, Any]]:
    """The JSON files that hold COCO's lists of images, annotations and categories, parsed.

    COCO's own keypoint and caption files beside its ``instances_*.json`` are passed over.

    Raises:
        UserError: a file is not whole JSON.
    """
    found = {}
    for path in files.json:
        try:
            content = json.loads(read_bytes(path))
        except (ValueError, RecursionError) as error:
            raise UserError(f"not whole JSON ({error}): {path}\nExport it again, or take it away.") from error
        if isinstance(content, dict) and all(isinstance(content.get(key), list) for key in LISTS):
            found[path] = content
    instances = {path: content for path, content in found.items() if path.name.startswith("instances_")}
    return instances or found


def read_coco(files: Files, found: dict[Path, dict[str, Any]]) -> LabelledFolder:
    """Reads every annotation of every file; the classes are those of all files, in the order of their ids."""
    names: dict[str, None] = {}
    images: list[LabelledImage] = []
    missing: list[str] = []
    listed = 0
    labelled_in: dict[Path, Path] = {}
    for path, content in found.items():
        classes = _classes(content, path)
        names.update(dict.fromkeys(classes.values()))
        entries = _images(content, path)
        listed += len(entries)
        of_file: dict[Any, LabelledImage] = {}
        for image_id, (name, size) in entries.items():
            image_path = _locate(files, path, name)
            if image_path is None:
                missing.append(f"{name} of {path}")
                continue
            if image_path in labelled_in:
                raise UserError(
                    f"the image {image_path} is labelled twice, in {labelled_in[image_path]} and in {path}\n"
                    "Take one away."
                )
            labelled_in[image_path] = path
            split = split_in_name(path, files.root) or split_in_name(image_path.parent, files.root)
            of_file[image_id] = LabelledImage(image_path, size or image_size(image_path), [], split)
        _add_objects(content, path, classes, entries, of_file)
        images += of_file.values()
    require_images(missing, listed, "images that the JSON lists")
    folder = LabelledFolder(files.root, FORMAT_NAME, tuple(names), images)
    unlisted = len(files.images) - len(images)
    if unlisted > 0:
        folder.notes.append(f"{unlisted} images that no JSON lists are left out")
    return folder


def _classes(content: dict[str, Any], path: Path) -> dict[Any, str]:
    """Names by id, in the order of the ids.

    Roboflow heads its list with the name of the project, or with "none", which is every other category's supercategory
    and has no object of its own; that is no class.
    """
    categories = content["categories"]
    for number, entry in enumerate(categories):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or "id" not in entry:
            raise UserError(f"{path}: categories[{number}] has no id and name\nExport it again.")
    used = {entry.get("category_id") for entry in content["annotations"] if isinstance(entry, dict)}
    kept = [
        entry
        for entry in categories
        if entry["id"] in used
        or entry.get("supercategory") != "none"
        or not any(other.get("supercategory") == entry["name"] for other in categories if other is not entry)
    ]
    kept = kept or list(categories)
    kept.sort(key=lambda entry: (str(type(entry["id"])), entry["id"]))
    classes = {entry["id"]: entry["name"] for entry in kept}
    if len(set(classes.values())) < len(kept):
        raise UserError(f"{path}: two categories have the same id or the same name\nExport it again.")
    return classes


def _images(content: dict[str, Any], path: Path) -> dict[Any, tuple[str, tuple[int, int] | None]]:
    """(file name, (width, height)) by id; None for a size that is not said."""
    images: dict[Any, tuple[str, tuple[int, int] | None]] = {}
    for number, entry in enumerate(content["images"]):
        try:
            name, size = entry["file_name"], (int(entry.get("width") or 0), int(entry.get("height") or 0))
            image_id = entry["id"]
            if not isinstance(name, str) or image_id in images:
                raise ValueError("its id is used twice" if image_id in images else "file_name is no text")
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{path}: images[{number}]: {reason}\nExport it again.") from error
        images[image_id] = (name, size if min(size) > 0 else None)
    return images


def _locate(files: Files, label: Path, name: str) -> Path | None:
    """Beside the JSON, below the root, or wherever the folder has a file of that name."""
    found = _locate_named(files, label, name.replace("\\", "/"))
    # Addresses have %20 for a space.
    return found or ("%" in name and _locate_named(files, label, unquote(name))) or None


def _locate_named(files: Files, label: Path, name: str) -> Path | None:
    for start in (label.parent, files.root):
        # Joining an absolute name leaves the folder, where nothing is to be read.
        if not Path(name).is_absolute() and ".." not in Path(name).parts and (start / name).is_file():
            return start / name
    candidates = files.images_of_name(name.rsplit("/", 1)[-1])
    split = split_in_name(label, files.root)
    of_split = [path for path in candidates if split_in_name(path.parent, files.root) == split]
    with_folders = [path for path in candidates if path.as_posix().endswith(f"/{name}")]
    return nearest(with_folders or of_split or candidates, label)


def _add_objects(
    content: dict[str, Any],
    path: Path,
    classes: dict[Any, str],
    entries: dict[Any, Any],
    images: dict[Any, LabelledImage],
) -> None:
    for number, entry in enumerate(content["annotations"]):
        place = f"{path}: annotations[{number}]"
        if not isinstance(entry, dict) or entry.get("image_id") not in entries:
            raise UserError(f"{place} belongs to no image of the file\nExport it again.")
        if entry.get("category_id") not in classes:
            raise UserError(f"{place}: category_id {entry.get('category_id')!r} is no category\nExport it again.")
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
            raise UserError(f"{place}: bbox is {box!r}, no four numbers\nExport it again, with boxes.")
        if entry["image_id"] in images:
            left, top, width, height = map(float, box)
            labelled = LabelledObject(
                classes[entry["category_id"]], (left, top, width, height), bool(entry.get("iscrowd"))
            )
            images[entry["image_id"]].objects.append(labelled)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
