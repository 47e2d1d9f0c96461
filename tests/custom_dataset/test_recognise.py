"""Every format gives the same images and boxes; folders that do not fit end in plain words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from custom_dataset.folders import (
    BOXES,
    CLASSES,
    FOLDERS,
    coco_of,
    labelimg,
    roboflow_coco,
    ultralytics,
    voc,
    write_image,
    write_text,
    xml_of,
    yolo_of,
)
from PIL import Image
from pycocotools.coco import COCO

from ghm_mmdet.custom_dataset.labelled_images import coco_content
from ghm_mmdet.custom_dataset.recognise import read_labelled_folder
from ghm_mmdet.errors import UserError

# Where the folder names splits, what they are by image.
SPLITS = {
    "voc": {"a": "train", "b": "val", "c": "test"},
    "roboflow_voc": {"a": "train", "b": "val", "c": "test"},
    "coco": {"a": "train", "b": "train", "c": "val", "d": "val"},
    "roboflow_coco": {"a": "train", "b": "val", "c": "test"},
    "ultralytics": {"a": "train", "b": "train", "c": "val", "d": "val"},
    "roboflow_yolo": {"a": "train", "b": "val", "c": "test"},
    "cvat_yolo": dict.fromkeys("abc", "train"),
}
FORMATS = {
    "PASCAL VOC XML": ("voc", "labelimg", "roboflow_voc"),
    "YOLO text": ("ultralytics", "roboflow_yolo", "labelimg_yolo", "cvat_yolo"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_every_export_gives_the_same_boxes(name: str, tmp_path: Path) -> None:
    FOLDERS[name](tmp_path)
    before = sorted(tmp_path.rglob("*"))
    folder = read_labelled_folder(tmp_path)
    assert folder.classes == CLASSES
    found = {image.path.stem: image for image in folder.images}
    assert set(found) >= set("abc") and len(found) == len(folder.images)
    for stem, image in found.items():
        boxes = sorted((labelled.class_name, *labelled.bbox) for labelled in image.objects)
        assert [box[0] for box in boxes] == [box[0] for box in BOXES[stem]]
        for box, expected in zip(boxes, BOXES[stem]):
            assert box[1:] == pytest.approx(expected[1:], abs=0.01)
        assert image.path.is_file() and image.path.suffix == ".jpg" and image.size == (100, 80)
        assert image.split == SPLITS.get(name, {}).get(stem)
    assert folder.format_name == next((title for title, names in FORMATS.items() if name in names), "COCO JSON")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["voc", "coco", "ultralytics"])
def test_coco_file_holds_them(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """pycocotools reads it, and finds the files from the root."""
    FOLDERS[name](tmp_path / "data")
    folder = read_labelled_folder(tmp_path / "data")
    (tmp_path / "all.json").write_text(json.dumps(coco_content(folder.images, folder.classes, folder.root)))
    coco = COCO(str(tmp_path / "all.json"))
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    assert tuple(names.values()) == CLASSES
    for image in coco.loadImgs(coco.getImgIds()):
        assert (tmp_path / "data" / image["file_name"]).is_file()
        entries = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        boxes = sorted((names[entry["category_id"]], *entry["bbox"]) for entry in entries)
        expected = BOXES[Path(image["file_name"]).stem]
        assert [box[0] for box in boxes] == [box[0] for box in expected]
        for box, other in zip(boxes, expected):
            assert box[1:] == pytest.approx(other[1:], abs=0.01)
        assert all(entry["area"] == pytest.approx(entry["bbox"][2] * entry["bbox"][3], abs=0.1) for entry in entries)


def test_difficult_objects_are_ignored_as_crowds_are(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg")
    write_image(tmp_path / "b.jpg")
    write_text(tmp_path / "a.xml", xml_of("a", difficult=1))
    write_text(tmp_path / "b.xml", xml_of("b"))
    folder = read_labelled_folder(tmp_path)
    entries = coco_content(folder.images, folder.classes, tmp_path)["annotations"]
    assert [entry["iscrowd"] for entry in entries] == [1, 0, 0]
    assert folder.object_counts() == {"cell": 1, "platelet": 1}


def test_polygon_has_its_bounding_box(tmp_path: Path) -> None:
    ultralytics(tmp_path)
    write_text(tmp_path / "labels" / "train" / "a.txt", "0 0.1 0.25 0.5 0.3 0.4 0.75\n")
    (image,) = [image for image in read_labelled_folder(tmp_path).images if image.path.stem == "a"]
    assert image.objects[0].bbox == pytest.approx((10, 20, 40, 40))


def test_a_turned_photograph_has_the_size_that_is_decoded(tmp_path: Path) -> None:
    ultralytics(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "images" / "train" / "a.jpg"
    Image.open(path).save(path, exif=exif)
    (image,) = [image for image in read_labelled_folder(tmp_path).images if image.path.stem == "a"]
    assert image.size == (80, 100)


def test_boxes_without_area_are_left_out_and_told(tmp_path: Path) -> None:
    voc(tmp_path)
    file = tmp_path / "Annotations" / "a.xml"
    corners = "<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>3</xmax><ymax>9</ymax></bndbox>"
    added = f"<object><name>cell</name>{corners}</object></annotation>"
    file.write_text(file.read_text().replace("</annotation>", added))
    folder = read_labelled_folder(tmp_path)
    assert folder.object_counts()["cell"] == 2
    assert any("1 boxes smaller than a pixel are left out" in note for note in folder.notes)


def no_labels(root: Path) -> None:
    write_image(root / "a.jpg")


def no_objects(root: Path) -> None:
    write_image(root / "d.jpg")
    write_text(root / "d.xml", xml_of("d"))


def no_images(root: Path) -> None:
    write_text(root / "Annotations" / "a.xml", xml_of("a"))


def an_image_is_missing(root: Path) -> None:
    voc(root)
    (root / "JPEGImages" / "b.jpg").unlink()
    (root / "SegmentationClass" / "b.png").unlink()


def a_listed_image_is_missing(root: Path) -> None:
    roboflow_coco(root)
    (root / "train" / "a.jpg").unlink()


def a_yolo_image_is_missing(root: Path) -> None:
    ultralytics(root)
    (root / "images" / "train" / "b.jpg").unlink()


def two_formats(root: Path) -> None:
    labelimg(root)
    write_text(root / "all.json", json.dumps(coco_of("abc")))


def space(root: Path) -> None:
    labelimg(root)
    file = root / "b.xml"
    file.write_text(file.read_text().replace("<name>cell", "<name>cell "))


def case(root: Path) -> None:
    labelimg(root)
    file = root / "b.xml"
    file.write_text(file.read_text().replace("<name>cell", "<name>Cell"))


def labelled_twice(root: Path) -> None:
    roboflow_coco(root)
    (root / "train" / "copy.json").write_text((root / "train" / "_annotations.coco.json").read_text())


def torn_xml(root: Path) -> None:
    labelimg(root)
    (root / "b.xml").write_text("<annotation><object>")


def torn_json(root: Path) -> None:
    roboflow_coco(root)
    (root / "train" / "_annotations.coco.json").write_text('{"images": [')


def cvat_xml(root: Path) -> None:
    write_image(root / "a.jpg")
    write_text(root / "annotations.xml", "<annotations><image/></annotations>")


def no_class_names(root: Path) -> None:
    ultralytics(root)
    (root / "data.yaml").unlink()


def unknown_class(root: Path) -> None:
    ultralytics(root)
    write_text(root / "labels" / "train" / "a.txt", "2 0.5 0.5 0.1 0.1\n")


def pixels_for_shares(root: Path) -> None:
    ultralytics(root)
    write_text(root / "labels" / "train" / "a.txt", "0 50 40 10 10\n")


def detections_for_labels(root: Path) -> None:
    ultralytics(root)
    write_text(root / "labels" / "train" / "a.txt", yolo_of("a").replace("\n", " 0.9\n"))


def no_box(root: Path) -> None:
    labelimg(root)
    write_text(root / "b.xml", "<annotation><object><name>cell</name></object></annotation>")


def lists_of_other_images(root: Path) -> None:
    voc(root)
    for file in (root / "ImageSets" / "Main").iterdir():
        file.write_text("x\ny\n")


def an_image_is_none(root: Path) -> None:
    ultralytics(root)
    (root / "images" / "train" / "a.jpg").write_text("no image")


BAD = {
    no_labels: ("1 images and no labels",),
    no_objects: ("1 images and not one labelled object",),
    no_images: ("1 label files and no image",),
    an_image_is_missing: ("1 of 3 XML files have no image", "b.xml"),
    a_listed_image_is_missing: ("1 of 3 images that the JSON lists have no image", "a.jpg"),
    a_yolo_image_is_missing: ("1 of 3 label files have no image", "b.txt"),
    two_formats: ("labels of two formats", "PASCAL VOC XML (3 files", "COCO JSON (1 files"),
    space: ("differ by case or spaces only: 'cell' (1 objects) and 'cell ' (1)",),
    case: ("differ by case or spaces only: 'Cell' (1 objects) and 'cell' (1)",),
    labelled_twice: ("a.jpg is labelled twice", "copy.json"),
    torn_xml: ("not whole XML", "b.xml"),
    torn_json: ("not whole JSON", "_annotations.coco.json"),
    cvat_xml: ("CVAT's own XML is not read",),
    no_class_names: ("without the names of their classes", "classes.txt"),
    unknown_class: ("a.txt, line 1: class 2", "names the classes 0 to 1"),
    pixels_for_shares: ("a.txt, line 1", "shares of the image"),
    detections_for_labels: ("a.txt, line 1: 6 numbers",),
    no_box: ("b.xml, object 1", "no bndbox"),
    lists_of_other_images: ("none of the 2 names in",),
    an_image_is_none: ("cannot read the image", "a.jpg"),
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_what_does_not_fit_is_said_in_two_lines(make, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(UserError) as stop:
        read_labelled_folder(tmp_path)
    assert len(str(stop.value).splitlines()) <= 2
    for part in BAD[make]:
        assert part in str(stop.value)


def test_a_folder_that_is_none_or_empty(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the folder is empty"):
        read_labelled_folder(tmp_path)
    with pytest.raises(UserError, match="folder not found"):
        read_labelled_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match="not a folder"):
        read_labelled_folder(write_text(tmp_path / "file", ""))
    with pytest.raises(UserError, match="no image and no labels"):
        read_labelled_folder(tmp_path)


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    labelimg(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path)
    assert len(read_labelled_folder(tmp_path).images) == 3
