"""Every format gives the same images and boxes; folders that do not fit end in plain words."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from custom_dataset.folders import (
    BOXES,
    CLASSES,
    FOLDERS,
    coco_of,
    cvat_coco,
    label_studio_coco,
    labelimg,
    labelimg_yolo,
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


def rename(root: Path, pattern: str, name: str) -> None:
    for path in sorted(root.rglob(pattern)):
        target = path.with_name(name.format(path))
        path.rename(target)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def capital_endings(root: Path) -> None:
    labelimg(root)
    rename(root, "*.jpg", "{0.stem}.JPG")
    rename(root, "*.xml", "{0.stem}.XML")


def capital_texts(root: Path) -> None:
    labelimg_yolo(root)
    rename(root, "?.txt", "{0.stem}.TXT")


def capital_endings_in_the_folder_alone(root: Path) -> None:
    cvat_coco(root)
    rename(root, "*.jpg", "{0.stem}.JPG")


def labels_in_a_folder_below(root: Path) -> None:
    for name in "abc":
        write_image(root / f"{name}.jpg")
        write_text(root / "labels of mine" / f"{name}.xml", xml_of(name, rf"C:\Users\me\{name}.jpg"))


def file_names_of_other_images(root: Path) -> None:
    for name, other in zip("abc", "cab"):
        write_image(root / f"{name}.jpg")
        write_text(root / f"{name}.xml", xml_of(name, f"{other}.jpg"))


def addresses(root: Path) -> None:
    label_studio_coco(root)
    rename(root, "*.jpg", "my {0.name}")
    write_text(root / "result.json", json.dumps(coco_of("abcd", "https://host.org/data/upload/1/my%20{}.jpg", 0)))


def no_sizes(root: Path) -> None:
    cvat_coco(root)
    file = root / "annotations" / "instances_default.json"
    content = json.loads(file.read_text())
    for number, entry in enumerate(content["images"]):
        entry.update(width=0) if number else entry.pop("width")
    file.write_text(json.dumps(content))


def text_ids(root: Path) -> None:
    cvat_coco(root)
    file = root / "annotations" / "instances_default.json"
    content = json.loads(file.read_text())
    for key, entries in (("id", content["images"]), ("image_id", content["annotations"])):
        for entry in entries:
            entry[key] = f"image {entry[key]}"
    file.write_text(json.dumps(content))


def byte_order_marks(root: Path) -> None:
    labelimg_yolo(root)
    for file in root.glob("*.txt"):
        file.write_text("\ufeff" + file.read_text(), encoding="utf-8")


def json_of_windows(root: Path) -> None:
    cvat_coco(root)
    file = root / "annotations" / "instances_default.json"
    file.write_text(file.read_text(), encoding="utf-16")


def roboflow_head_without_objects(root: Path) -> None:
    """The heading has the name of the one class that is used in the other files."""
    roboflow_coco(root)
    for file in root.rglob("*.json"):
        content = json.loads(file.read_text())
        for category in content["categories"]:
            category["supercategory"] = "cell" if category["id"] else "none"
        content["categories"][0]["name"] = "cell"
        file.write_text(json.dumps(content))


def images_in_a_folder_of_any_name(root: Path) -> None:
    for name in "abc":
        write_image(root / "photos" / f"{name}.jpg")
        write_text(root / "labels" / f"{name}.txt", yolo_of(name))
    write_text(root / "classes.txt", "\n".join(CLASSES))


def masks_beside(root: Path) -> None:
    ultralytics(root)
    for name in "abcd":
        write_image(root / "masks" / f"{name}.png")


def settings_of_a_training(root: Path) -> None:
    ultralytics(root)
    write_text(root / "a.yaml", "names: [run 5]\n")


def numbers_as_words(root: Path) -> None:
    ultralytics(root)
    change(root / "data.yaml", "  0: cell\n  1:", "  '0': cell\n  '1':")


def keypoints(root: Path) -> None:
    ultralytics(root)
    change(root / "data.yaml", "names:", "kpt_shape: [2, 3]\nnames:")
    for file in (root / "labels").rglob("*.txt"):
        file.write_text(file.read_text().replace("\n", " 0.1 0.1 2 0.9 0.9 1\n"))


VARIANTS = (
    *(capital_endings, capital_texts, capital_endings_in_the_folder_alone, labels_in_a_folder_below),
    *(file_names_of_other_images, addresses, no_sizes, text_ids, byte_order_marks, json_of_windows),
    *(roboflow_head_without_objects, images_in_a_folder_of_any_name, masks_beside, settings_of_a_training),
    *(numbers_as_words, keypoints),
)


@pytest.mark.parametrize("make", VARIANTS, ids=lambda make: make.__name__)
def test_what_tools_and_people_write_besides(make, tmp_path: Path) -> None:
    make(tmp_path)
    folder = read_labelled_folder(tmp_path)
    assert folder.classes == CLASSES
    assert {*"abc"} <= {image.path.stem[-1] for image in folder.images} and len(folder.images) in (3, 4)
    for image in folder.images:
        assert image.path.suffix.lower() == ".jpg" and image.size == (100, 80)
        boxes = sorted((labelled.class_name, *labelled.bbox) for labelled in image.objects)
        expected = BOXES[image.path.stem[-1]]
        assert [box[0] for box in boxes] == [box[0] for box in expected]
        for box, other in zip(boxes, expected):
            assert box[1:] == pytest.approx(other[1:], abs=0.01)


def test_classes_are_called_as_they_are_written(tmp_path: Path) -> None:
    """YAML's own reading makes True and 1 of them."""
    ultralytics(tmp_path)
    write_text(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames: [yes, 01]\n")
    assert read_labelled_folder(tmp_path).classes == ("yes", "01")


def test_images_without_a_label_are_told(tmp_path: Path) -> None:
    ultralytics(tmp_path)
    write_image(tmp_path / "images" / "train" / "e.jpg")
    write_image(tmp_path / "masks" / "a.png")
    folder = read_labelled_folder(tmp_path)
    assert len(folder.images) == 5
    assert folder.notes == [
        "2 images without a label file count as images without objects",
        "1 images in folders without labels are left out",
    ]


def test_an_image_may_be_called_as_a_list_of_images(tmp_path: Path) -> None:
    labelimg_yolo(tmp_path)
    rename(tmp_path, "b.*", "test{0.suffix}")
    assert read_labelled_folder(tmp_path).object_counts() == {"cell": 2, "platelet": 2}


def test_many_images_do_not_take_their_square(tmp_path: Path) -> None:
    """Ten thousand entries of a JSON; compared with each other they would take half a minute."""
    names = [f"{number:05d}" for number in range(10_000)]
    for folder in ("images", "annotations"):
        (tmp_path / folder).mkdir()
    for name in names:
        (tmp_path / "images" / f"{name}.jpg").touch()
    content = coco_of("a")
    (entry,) = content["images"]
    content["images"] += [{**entry, "id": number, "file_name": f"{name}.jpg"} for number, name in enumerate(names, 1)]
    entry["file_name"] = f"{names[0]}.jpg"
    content["images"].pop(1)
    write_text(tmp_path / "annotations" / "instances_default.json", json.dumps(content))
    start = time.process_time()
    assert len(read_labelled_folder(tmp_path).images) == 10_000
    assert time.process_time() - start < 10


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
    assert any("1 boxes smaller than a pixel or with swapped corners are left out" in note for note in folder.notes)


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


def an_archive(root: Path) -> None:
    write_text(root / "export.zip", "PK")


def labels_of_another_tool(root: Path) -> None:
    write_image(root / "a.jpg")
    write_text(root / "a.json", '{"shapes": [], "imagePath": "a.jpg"}')


def images_of_another_kind(root: Path) -> None:
    write_text(root / "a.heic", "")
    write_text(root / "a.xml", xml_of("a"))


def swapped_corners(root: Path) -> None:
    labelimg(root)
    for file in root.glob("*.xml"):
        file.write_text(
            file.read_text()
            .replace("xmin", "x")
            .replace("xmax", "xmin")
            .replace("<x>", "<xmax>")
            .replace("</x>", "</xmax>")
        )


def a_link_to_nowhere(root: Path) -> None:
    labelimg(root)
    (root / "b.xml").unlink()
    (root / "b.xml").symlink_to(root / "gone.xml")


def two_lists_of_classes(root: Path) -> None:
    """As LabelImg writes them, in the order in which the classes were first used in a folder."""
    for split, order in (("train", "cell\nplatelet\n"), ("val", "platelet\ncell\n")):
        labelimg_yolo(root / split)
        write_text(root / split / "classes.txt", order)


def odd_keypoints(root: Path) -> None:
    ultralytics(root)
    change(root / "data.yaml", "names:", "kpt_shape: many\nnames:")


def an_image_is_none(root: Path) -> None:
    ultralytics(root)
    (root / "images" / "train" / "a.jpg").write_text("no image")


BAD = {
    no_labels: ("1 images and no labels",),
    an_archive: ("no image and no labels", "such as", "export.zip", "unpacked"),
    labels_of_another_tool: ("1 images and no labels", "1 files of another kind", "a.json", "These are read"),
    images_of_another_kind: ("1 label files and no image", ".webp"),
    swapped_corners: ("not one labelled object", "with swapped corners"),
    a_link_to_nowhere: ("cannot read", "b.xml"),
    two_lists_of_classes: ("two files name different classes", "classes.txt"),
    odd_keypoints: ("kpt_shape is 'many'", "data.yaml"),
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
    with pytest.raises(UserError, match=r"a file, not a folder.*\nUnpack"):
        read_labelled_folder(write_text(tmp_path / "file", ""))
    with pytest.raises(UserError, match="no image and no labels"):
        read_labelled_folder(tmp_path)


@pytest.mark.parametrize("name", ["pipe.jpg", "a.xml", "data.yaml", "labels.json"])
def test_what_is_no_file_is_not_opened(name, tmp_path: Path) -> None:
    labelimg(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"not a file but a pipe: .*{name}\nTake it away"):
        read_labelled_folder(tmp_path)


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    labelimg(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path)
    assert len(read_labelled_folder(tmp_path).images) == 3
