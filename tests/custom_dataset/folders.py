"""Small folders of labelled images in every format that is read, written by hand as the label tools write them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
from PIL import Image

# (class, left, top, right, bottom) in pixels of an image of 100 x 80, counted from 0; right and bottom are outside.
OBJECTS = {
    "a": [("cell", 10, 20, 50, 60)],
    "b": [("cell", 0, 0, 20, 30), ("platelet", 60, 40, 90, 70)],
    "c": [("platelet", 5, 5, 15, 25)],
    "d": [],
}
CLASSES = ("cell", "platelet")
SIZE = (100, 80)
# As a reader gives them: left, top, width, height.
BOXES = {
    name: sorted((label, x1, y1, x2 - x1, y2 - y1) for label, x1, y1, x2, y2 in objects)
    for name, objects in OBJECTS.items()
}


def write_image(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = numpy.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(path)
    return path


def xml_of(name: str, file_name: str | None = None, difficult: int = 0) -> str:
    """VOC counts from 1, so that xmin is left + 1; xmax - xmin is the width for mmdet."""
    objects = "".join(
        f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1 + 1}</xmin>"
        f"<ymin>{y1 + 1}</ymin><xmax>{x2 + 1}</xmax><ymax>{y2 + 1}</ymax></bndbox></object>"
        for label, x1, y1, x2, y2 in OBJECTS[name]
    )
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>{file_name or name + '.jpg'}</filename>{size}{objects}</annotation>"


def yolo_of(name: str) -> str:
    width, height = SIZE
    return "".join(
        f"{CLASSES.index(label)} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} "
        f"{(x2 - x1) / width} {(y2 - y1) / height}\n"
        for label, x1, y1, x2, y2 in OBJECTS[name]
    )


def coco_of(names: str, file_name: str = "{}.jpg", first_category: int = 1) -> dict:
    content: dict = {
        "images": [
            {"id": number, "file_name": file_name.format(name), "width": SIZE[0], "height": SIZE[1]}
            for number, name in enumerate(names)
        ],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=first_category)],
    }
    for number, name in enumerate(names):
        for label, x1, y1, x2, y2 in OBJECTS[name]:
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            category = CLASSES.index(label) + first_category
            content["annotations"].append(
                {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": category, **box}
            )
    return content


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def voc(root: Path) -> None:
    for name in "abc":
        write_image(root / "JPEGImages" / f"{name}.jpg")
        write_image(root / "SegmentationClass" / f"{name}.png")
        write_text(root / "Annotations" / f"{name}.xml", xml_of(name))
    for split, names in {"train": "a", "val": "b", "test": "c", "trainval": "ab", "cell_train": "c"}.items():
        write_text(root / "ImageSets" / "Main" / f"{split}.txt", "\n".join(names) + "\n")


def labelimg(root: Path) -> None:
    for name in "abc":
        write_image(root / f"{name}.jpg")
        write_text(root / f"{name}.xml", xml_of(name))
    write_image(root / "not yet labelled.jpg")


def roboflow_voc(root: Path) -> None:
    for split, name in (("train", "a"), ("valid", "b"), ("test", "c")):
        write_image(root / split / f"{name}.jpg")
        write_text(root / split / f"{name}.xml", xml_of(name))


def coco(root: Path) -> None:
    """Names as in COCO, with the keypoints of the same images beside them."""
    for split, names in (("train2017", "ab"), ("val2017", "cd")):
        for name in names:
            write_image(root / split / f"{name}.jpg")
        text = json.dumps(coco_of(names))
        write_text(root / "annotations" / f"instances_{split}.json", text)
        write_text(root / "annotations" / f"person_keypoints_{split}.json", text)


def cvat_coco(root: Path) -> None:
    for name in "abcd":
        write_image(root / "images" / "default" / f"{name}.jpg")
    write_text(root / "annotations" / "instances_default.json", json.dumps(coco_of("abcd")))


def roboflow_coco(root: Path) -> None:
    for split, names in (("train", "a"), ("valid", "b"), ("test", "c")):
        content = coco_of(names)
        for category in content["categories"]:
            category["supercategory"] = "blood"
        content["categories"].insert(0, {"id": 0, "name": "blood", "supercategory": "none"})
        for name in names:
            write_image(root / split / f"{name}.jpg")
        write_text(root / split / "_annotations.coco.json", json.dumps(content))


def label_studio_coco(root: Path) -> None:
    for name in "abcd":
        write_image(root / "images" / f"{name}.jpg")
    content = coco_of("abcd", file_name="..\\..\\label-studio\\media\\{}.jpg", first_category=0)
    write_text(root / "result.json", json.dumps(content))


def ultralytics(root: Path) -> None:
    for split, names in (("train", "ab"), ("val", "cd")):
        for name in names:
            write_image(root / "images" / split / f"{name}.jpg")
            if OBJECTS[name]:
                write_text(root / "labels" / split / f"{name}.txt", yolo_of(name))
    write_text(root / "data.yaml", "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cell\n  1: platelet\n")


def roboflow_yolo(root: Path) -> None:
    for split, names in (("train", "a"), ("valid", "b"), ("test", "c")):
        for name in names:
            write_image(root / split / "images" / f"{name}.jpg")
            write_text(root / split / "labels" / f"{name}.txt", yolo_of(name))
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: ['cell', 'platelet']\n"
    write_text(root / "data.yaml", text)
    write_text(root / "README.roboflow.txt", "exported\n")


def labelimg_yolo(root: Path) -> None:
    for name in "abc":
        write_image(root / f"{name}.jpg")
        write_text(root / f"{name}.txt", yolo_of(name))
    write_text(root / "classes.txt", "\n".join(CLASSES) + "\n")


def cvat_yolo(root: Path) -> None:
    for name in "abc":
        write_image(root / "obj_train_data" / f"{name}.jpg")
        write_text(root / "obj_train_data" / f"{name}.txt", yolo_of(name))
    write_text(root / "obj.names", "\n".join(CLASSES) + "\n")
    write_text(root / "obj.data", "classes = 2\n")
    write_text(root / "train.txt", "".join(f"data/obj_train_data/{name}.jpg\n" for name in "abc"))


FOLDERS = {
    function.__name__: function
    for function in (
        *(voc, labelimg, roboflow_voc, coco, cvat_coco, roboflow_coco, label_studio_coco),
        *(ultralytics, roboflow_yolo, labelimg_yolo, cvat_yolo),
    )
}
