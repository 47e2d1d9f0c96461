"""What format a folder of labelled images has."""

from __future__ import annotations

from pathlib import Path

from ghm_mmdet.custom_dataset import coco_json, pascal_voc, yolo
from ghm_mmdet.custom_dataset.files import IMAGE_SUFFIXES, list_files
from ghm_mmdet.custom_dataset.labelled_images import LabelledFolder
from ghm_mmdet.errors import UserError

READ = (
    "PASCAL VOC (an XML file for each image), COCO (one JSON file with images, annotations and categories) and YOLO "
    "(data.yaml and labels/)"
)


def read_labelled_folder(root: Path) -> LabelledFolder:
    """Finds out which format the labels below a folder have, and reads them; nothing is written.

    Raises:
        UserError: there are no images, no labels, labels of two formats, or labels that do not fit.
    """
    files = list_files(root)
    voc, coco, text = pascal_voc.find_voc_labels(files), coco_json.find_coco_files(files), yolo.find_yolo_labels(files)
    found = {
        name: labels
        for name, labels in ((pascal_voc.FORMAT_NAME, voc), (coco_json.FORMAT_NAME, coco), (yolo.FORMAT_NAME, text))
        if labels
    }
    if not found:
        # Such as a label tool's own project file, a table, or an archive that is still packed.
        others = [*files.json, *files.other]
        told = f"; {len(others)} files of another kind, such as {others[0]}" if others else ""
        raise UserError(
            f"{len(files.images)} images and no labels that can be read in {root}{told}\nThese are read: {READ}."
            if files.images
            else f"no image and no labels in {root}{told}\nName the folder that holds both, unpacked."
        )
    if len(found) > 1:
        told = " and ".join(
            f"{name} ({len(labels)} files, such as {next(iter(labels))})" for name, labels in found.items()
        )
        raise UserError(f"labels of two formats: {told}\nKeep one of them in the folder.")
    if not files.images:
        (labels,) = found.values()
        raise UserError(
            f"{len(labels)} label files and no image in {root}\n"
            f"Put the images into the folder, as files that end in one of {' '.join(IMAGE_SUFFIXES)}."
        )
    folder = (
        pascal_voc.read_voc(files, voc)
        if voc
        else coco_json.read_coco(files, coco)
        if coco
        else yolo.read_yolo(files, text)
    )
    folder.leave_out_objects_without_area()
    folder.require_usable()
    return folder
