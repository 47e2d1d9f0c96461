"""What a training or a test stops for, and what it says, on the shapes in COCO's and in VOC's format."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import mmcv
import numpy
import pytest
from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from PIL import Image
from small_detectors import retinanet
from tools.running import CLASSES, write_shapes, write_voc

from ghm_mmdet.data_check import walk
from ghm_mmdet.data_check.dataset_report import report_dataset
from ghm_mmdet.data_check.findings import Kind
from ghm_mmdet.data_check.preflight import QUIET, check_data, check_masks, check_trained_classes
from ghm_mmdet.errors import UserError, other_than_file

IMAGES = 4


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> tuple[Config, Path]:
    folder = tmp_path_factory.mktemp("findings")
    write_shapes(folder / "data", IMAGES)
    return retinanet(folder, folder / "data", model=None), folder / "data"


class Data:
    """A copy of the shapes with its config, to be changed."""

    def __init__(self, cfg: Config, root: Path):
        self.cfg, self.root = cfg, root
        self.files = {phase: json.loads((root / "annotations.json").read_text()) for phase in ("train", "val")}

    def write_files(self) -> None:
        for phase, content in self.files.items():
            (self.root / f"{phase}.json").write_text(json.dumps(content))

    def write(self) -> None:
        self.write_files()
        for phase in ("train", "val"):
            self.cfg[f"{phase}_dataloader"].dataset.update(data_root=f"{self.root}/", ann_file=f"{phase}.json")
        self.cfg.val_evaluator.ann_file = str(self.root / "val.json")
        self.cfg.test_dataloader = self.cfg.test_evaluator = None

    def assert_found(self, kind: Kind | None, place: str, capsys: pytest.CaptureFixture) -> None:
        """check names it, and a training stops for it or says it, with the place; None: nothing at all."""
        report = report_dataset(copy.deepcopy(self.cfg))
        found = [report.walk.findings, *(part.findings for part in report.walk.parts)]
        kinds = {kind for findings in found for kind in findings.by_kind}
        if kind is None:
            assert not kinds, str(report)
            check_data(self.cfg, ("train", "val"))
            assert not capsys.readouterr().err
            return
        assert kind in kinds and place in str(report), str(report)
        assert report.breaks == kind.breaks, str(report)
        capsys.readouterr()
        if kind.breaks:
            with pytest.raises(UserError) as stop:
                check_data(self.cfg, ("train", "val"))
            assert place in str(stop.value) and len(str(stop.value).splitlines()) == 2
            return
        check_data(self.cfg, ("train", "val"))
        often = sum(findings.by_kind[kind].count for findings in found if kind in findings.by_kind) > 1
        assert (place in capsys.readouterr().err) == (kind not in QUIET or often)


@pytest.fixture
def data(origin, tmp_path) -> Data:
    cfg, root = origin
    return Data(copy.deepcopy(cfg), Path(shutil.copytree(root, tmp_path / "data")))


Change = Callable[[Data], Any]


def every(phases: str, what: str, **changes: Any) -> Change:
    """Changes fields of all entries; a function is given the entry."""

    def apply(data: Data) -> None:
        for phase in phases.split():
            for entry in data.files[phase][what]:
                entry.update({key: value(entry) if callable(value) else value for key, value in changes.items()})

    return apply


def one(phase: str, what: str, **changes: Any) -> Change:
    return lambda data: data.files[phase][what][1].update(changes)


def option(**options: Any) -> Change:
    return lambda data: data.cfg.merge_from_dict({key.replace("__", "."): value for key, value in options.items()})


def rename(phases: str, number: int, name: str) -> Change:
    def apply(data: Data) -> None:
        for phase in phases.split():
            data.files[phase]["categories"][number]["name"] = name

    return apply


def reverse(phases: str) -> Change:
    return lambda data: [data.files[phase]["categories"].reverse() for phase in phases.split()]


def without(key: str) -> Change:
    return lambda data: [entry.pop(key) for entry in data.files["val"]["annotations"]]


BOTH = "train val"
TRAIN = "train_dataloader__dataset__"
COCO: dict[str, tuple[Change, Kind | None, str]] = {
    "nothing wrong": (lambda data: None, None, ""),
    # Ids: the ground truth is numbered anew, so only what stays ambiguous stops.
    "ids from 0": (every(BOTH, "annotations", id=lambda entry: entry["id"] - 1), None, ""),
    "text ids": (every(BOTH, "annotations", id=lambda entry: f"a{entry['id']}"), None, ""),
    "no iscrowd": (without("iscrowd"), None, ""),
    "mixed image ids": (
        lambda data: [
            data.files["val"]["images"][1].update(id="two"),
            [a.update(image_id="two") for a in data.files["val"]["annotations"] if a["image_id"] == 2],
        ],
        Kind.MIXED_IDS,
        "two",
    ),
    "iscrowd is a text": (one("val", "annotations", iscrowd="0"), Kind.WRONG_FIELD, "iscrowd is '0'"),
    "an id beyond floats": (one("val", "images", id=2**60), Kind.WRONG_FIELD, "images[1]"),
    "image_id as a text": (
        every("train", "annotations", image_id=lambda entry: str(entry["image_id"])),
        Kind.NO_IMAGE,
        "image_id '1'",
    ),
    "corners in place of width and height": (
        every(BOTH, "annotations", bbox=lambda entry: _corners(*entry["bbox"])),
        Kind.CORNERS,
        "as corners all are inside",
    ),
    "centres in place of corners": (
        every(BOTH, "annotations", bbox=lambda entry: _centres(*entry["bbox"])),
        Kind.CENTRES,
        "as centres all are inside",
    ),
    "centres in floating point": (
        every(BOTH, "annotations", bbox=lambda entry: [value + 0.25 for value in _centres(*entry["bbox"])]),
        Kind.CENTRES,
        "beyond the right or lower border",
    ),
    "many beyond the border": (every("train", "annotations", bbox=[60, 3, 9, 9]), Kind.BORDER, "[60, 3, 69, 12]"),
    "images smaller than annotated": (every(BOTH, "images", width=128, height=128), Kind.IMAGE_SIZE, "(128, 128)"),
    "a file under two ids": (one("train", "images", file_name="0.png"), Kind.IMAGE_TWICE, "images[1]: 0.png"),
    "names with backslashes": (
        every(BOTH, "images", file_name=lambda entry: f"sub\\{entry['file_name']}"),
        Kind.IMAGE_MISSING,
        "sub\\0.png",
    ),
    # What the data set yields.
    "fractions": (
        every(BOTH, "annotations", bbox=lambda entry: [value / 64 for value in entry["bbox"]]),
        Kind.NO_OBJECT,
        "smaller than a pixel",
    ),
    "area 0": (every(BOTH, "annotations", area=0), Kind.NO_OBJECT, "12 boxes with an area field"),
    "all crowd": (every(BOTH, "annotations", iscrowd=1), Kind.NO_OBJECT, "12 crowd"),
    "all to be ignored": (every(BOTH, "annotations", ignore=1), Kind.NO_OBJECT, "12 annotations with an ignore"),
    "all outside": (every(BOTH, "annotations", bbox=[90, 90, 9, 9]), Kind.NO_OBJECT, "boxes outside the image"),
    "images below min_size": (every(BOTH, "images", width=31), Kind.NO_IMAGE, "min_size"),
    "the pipeline drops all": (
        lambda data: data.cfg.train_dataloader.dataset.pipeline.insert(
            3, dict(type="FilterAnnotations", min_gt_bbox_wh=(40, 40), keep_empty=False)
        ),
        Kind.NO_OBJECT,
        "train_dataloader.dataset.pipeline.3 (FilterAnnotations)",
    ),
    "a trailing space": (rename("train", 2, "bar "), Kind.UNSEEN_CLASS, "'bar'; the data has 'bar '"),
    "another case": (rename("train", 2, "Bar"), Kind.UNSEEN_CLASS, "'bar'; the data has 'Bar'"),
    "a hyphen": (rename("train", 2, "b-ar"), Kind.UNSEEN_CLASS, "'bar'; the data has 'b-ar'"),
    "another case, evaluated": (rename(BOTH, 2, "Bar"), Kind.EVALUATOR, "has no category ['bar']"),
    "some too small": (one("train", "annotations", bbox=[3, 3, 0.5, 9]), Kind.SUBPIXEL, "annotation 2"),
    # The same classes in another order.
    "order of train and val": (reverse("val"), Kind.CLASS_ORDER, "['bar', 'square', 'disc']"),
    "a class less in val": (
        lambda data: [data.files["val"].update(categories=data.files["val"]["categories"][1:]), _drop_first(data)],
        Kind.EVALUATOR,
        "['disc']",
    ),
    "order of the config": (reverse(BOTH), Kind.LABEL_NAMES, "['bar', 'square', 'disc']"),
    # No iteration.
    "less than a batch": (
        option(train_dataloader__batch_size=9, train_dataloader__drop_last=True, train_dataloader__batch_sampler=None),
        Kind.NO_BATCH,
        "4 images, batch_size=9",
    ),
    "repeated no time": (
        lambda data: setattr(
            data.cfg.train_dataloader,
            "dataset",
            dict(type="RepeatDataset", times=0, dataset=data.cfg.train_dataloader.dataset),
        ),
        Kind.NO_BATCH,
        "0 images",
    ),
    "no epoch": (option(train_cfg__max_epochs=0), Kind.NO_BATCH, "train_cfg.max_epochs is 0"),
    # Classes.
    "classes as a text": (option(**{f"{TRAIN}metainfo__classes": "drone"}), Kind.CLASSES, "the text 'drone'"),
    "classes twice": (option(**{f"{TRAIN}metainfo__classes": ("a", "a", "b")}), Kind.CLASSES, "'a'"),
    "classes are numbers": (option(**{f"{TRAIN}metainfo__classes": (1, 2, 3)}), Kind.CLASSES, "metainfo.classes"),
    # What the evaluator alone needs.
    "no segmentation": (
        option(val_evaluator__metric="segm"),
        Kind.EVALUATOR,
        "metric segm: annotations[0]: segmentation is None",
    ),
    "a flat polygon": (
        lambda data: (
            data.cfg.val_evaluator.update(metric=["bbox", "segm"]),
            [entry.update(segmentation=[[1, 1, 9, 1, 9, 9]]) for entry in data.files["val"]["annotations"]],
            data.files["val"]["annotations"][7].update(segmentation=[[1, 1, 9, 1]]),
        ),
        Kind.EVALUATOR,
        "annotations[7]: segmentation is [[1, 1, 9, 1]]",
    ),
    "an unknown metric item": (option(val_evaluator__metric_items=["mAP", "AP"]), Kind.EVALUATOR, '"AP" is not'),
    "text categories in a file of results": (
        lambda data: (
            data.cfg.val_evaluator.update(outfile_prefix=str(data.root / "results")),
            [entry.update(id=f"c{entry['id']}") for entry in data.files["val"]["categories"]],
            [entry.update(category_id=f"c{entry['category_id']}") for entry in data.files["val"]["annotations"]],
        ),
        Kind.EVALUATOR,
        "val_evaluator would mix up the category ids",
    ),
    "metrics in a list of the evaluator": (
        lambda data: data.cfg.merge_from_dict(
            dict(
                val_evaluator=dict(_delete_=True, type="Evaluator", metrics=[dict(type="CocoMetric", ann_file="gone")])
            )
        ),
        Kind.PATH,
        "val_evaluator.metrics.0.ann_file",
    ),
    # What a pipeline must give.
    "no PackDetInputs": (
        lambda data: data.cfg.train_dataloader.dataset.pipeline.pop(),
        Kind.PIPELINE,
        "train_dataloader.dataset gives no inputs and no data_samples",
    ),
    "masks that are not there": (
        lambda data: data.cfg.train_dataloader.dataset.pipeline[1].update(with_mask=True),
        Kind.PIPELINE,
        "0.png: LoadAnnotations: KeyError: 'mask'",
    ),
    # What it needs of the pipeline.
    "no img_id": (
        lambda data: data.cfg.val_dataloader.dataset.pipeline[-1].update(meta_keys=("img_path", "ori_shape")),
        Kind.EVALUATOR,
        "img_id",
    ),
}


def _corners(x: int, y: int, width: int, height: int) -> list[int]:
    return [x, y, x + width, y + height]


def _centres(x: int, y: int, width: int, height: int) -> list[float]:
    return [x + width / 2, y + height / 2, width, height]


def _drop_first(data: Data) -> None:
    rest = [entry for entry in data.files["val"]["annotations"] if entry["category_id"] != 1]
    data.files["val"]["annotations"] = rest


@pytest.mark.parametrize("case", COCO)
def test_coco(case, data, capsys):
    change, kind, place = COCO[case]
    data.write()
    change(data)
    data.write_files()
    data.assert_found(kind, place, capsys)


Content = dict[str, list[dict]]
TRUTHS: dict[str, tuple[Callable[[Content], Any], Kind | None, str]] = {
    "the same": (lambda truth: None, None, ""),
    "in another order": (lambda truth: truth["annotations"].reverse(), None, ""),
    "with other ids": (lambda truth: [one.update(id=one["id"] + 50) for one in truth["annotations"]], None, ""),
    "another box": (
        lambda truth: truth["annotations"][4].update(bbox=[1, 2, 30, 40]),
        Kind.OTHER_TRUTH,
        "1.png, 2 objects in one of the two files only",
    ),
    "an object less": (lambda truth: truth["annotations"].pop(4), Kind.OTHER_TRUTH, "1.png, 1 objects"),
    "another class": (
        lambda truth: truth["annotations"][4].update(category_id=1),
        Kind.OTHER_TRUTH,
        "1.png, 2 objects",
    ),
    "other images": (
        lambda truth: [image.update(file_name=f"other_{image['file_name']}") for image in truth["images"]],
        Kind.EVALUATOR,
        "has other_0.png as image 1, val_dataloader.dataset has 0.png",
    ),
    "images in another order": (
        lambda truth: [image.update(file_name=f"{IMAGES - 1 - at}.png") for at, image in enumerate(truth["images"])],
        Kind.EVALUATOR,
        "has 3.png as image 1",
    ),
    "another folder before the names": (
        lambda truth: [image.update(file_name=f"val/{image['file_name']}") for image in truth["images"]],
        None,
        "",
    ),
    "an image more": (
        lambda truth: truth["images"].append({**truth["images"][0], "id": 77, "file_name": "77.png"}),
        Kind.NOT_TESTED,
        "77.png",
    ),
    "an image less": (lambda truth: truth["images"].pop(0), Kind.EVALUATOR, "lacks 1 of the 4 images"),
}


@pytest.mark.parametrize("case", TRUTHS)
def test_an_evaluator_with_a_file_of_its_own(case, data, capsys):
    change, kind, place = TRUTHS[case]
    data.write()
    truth = copy.deepcopy(data.files["val"])
    change(truth)
    (data.root / "truth.json").write_text(json.dumps(truth))
    data.cfg.val_evaluator.ann_file = str(data.root / "truth.json")
    data.assert_found(kind, place, capsys)


def test_a_part_of_the_evaluated_images(data, capsys):
    data.write()
    data.cfg.val_dataloader.dataset.indices = 3
    data.assert_found(Kind.NOT_TESTED, "3.png", capsys)


@pytest.fixture
def no_hanging():
    signal.alarm(60)
    yield
    signal.alarm(0)


def put(what: str, path: Path) -> None:
    """Something else in the place of a file."""
    path.unlink(missing_ok=True)
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    elif what == "a device":
        path.symlink_to("/dev/zero")
    else:
        # Its path must be short where it is made.
        with socket.socket(socket.AF_UNIX) as made, tempfile.TemporaryDirectory() as folder:
            made.bind(f"{folder}/s")
            os.rename(f"{folder}/s", path)


NO_FILES = ["a pipe", "a folder", "a device", "a socket"]


@pytest.mark.usefixtures("no_hanging")
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_not_opened(what, data, capsys):
    data.write()
    put(what, data.root / "images" / "2.png")
    data.assert_found(Kind.IMAGE_MISSING, f"2.png is {what}, not a file", capsys)
    put(what, data.root / "val.json")
    data.assert_found(Kind.PATH, f"annotation file is {what}, not a file", capsys)


@pytest.mark.usefixtures("no_hanging")
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_in_voc_is_not_opened(what, data, tmp_path, capsys):
    voc(data, replace("<size><width>64</width><height>64</height></size>", ""))
    put(what, data.root / "JPEGImages" / "1.jpg")
    data.assert_found(Kind.IMAGE_MISSING, f"1.jpg is {what}, not a file", capsys)
    put(what, data.root / "Annotations" / "0.xml")
    data.assert_found(Kind.XML_MISSING, f"0.xml is {what}, not a file", capsys)
    assert not any(map(other_than_file, (tmp_path / "none", "a\0b", data.root / "list.txt")))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(filter_cfg=dict(filter_empty=True)), "filter_cfg.filter_empty\nDid you mean 'filter_empty_gt'"),
        (dict(filter_cfg=dict(bbox_min_size=32)), "filter_cfg.bbox_min_size\nDid you mean 'min_size'"),
        (dict(metainfo=dict(CLASSES=CLASSES)), "metainfo.CLASSES\nDid you mean 'classes'"),
        (dict(metainfo=dict(class_names=CLASSES)), "metainfo.class_names\nDid you mean 'classes'"),
        (dict(backend_args="local"), "backend_args is 'local', not a dict"),
        (dict(ann_file="", data_root=""), "annotation file not found"),
    ],
)
def test_keys_of_a_data_set(options, expected, data):
    data.write()
    dataset = data.cfg.train_dataloader.dataset
    for key, value in options.items():
        dataset.pop(key, None)
        dataset[key] = value
    with pytest.raises(UserError, match=expected):
        check_data(data.cfg, ("train",))


def test_a_concatenation_in_two_orders(data, capsys):
    reverse("val")(data)
    data.write()
    first = data.cfg.train_dataloader.dataset.to_dict()
    second = {**first, "ann_file": "val.json"}
    data.cfg.train_dataloader.dataset = dict(type="ConcatDataset", datasets=[first, second])
    data.cfg.val_dataloader = data.cfg.val_evaluator = None
    data.assert_found(Kind.CLASS_ORDER, "train_dataloader.dataset.datasets.1", capsys)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings(encoding, data, capsys):
    data.files["train"]["images"][0]["note"] = "é"
    data.write()
    text = json.dumps(data.files["train"], ensure_ascii=False)
    (data.root / "train.json").write_bytes(text.encode(encoding))
    mark = "UTF-8" if encoding == "latin-1" else "byte-order mark"
    data.assert_found(Kind.ANNOTATION_FILE, mark, capsys)


@pytest.mark.parametrize(
    ("turn", "options", "annotated", "kind"),
    [
        (6, {}, "as stored", Kind.ORIENTATION),
        (6, {}, "as shown", None),
        (3, {}, "as stored", Kind.ORIENTATION),
        (3, dict(color_type="color_ignore_orientation"), "as stored", None),
        (8, dict(color_type="color_ignore_orientation"), "as stored", None),
        (8, dict(color_type="color_ignore_orientation"), "as shown", Kind.ORIENTATION),
        (1, {}, "otherwise", Kind.IMAGE_SIZE),
    ],
)
def test_exif(turn, options, annotated, kind, data, capsys):
    exif = Image.Exif()
    exif[0x0112] = turn
    pixels = numpy.random.default_rng(0).integers(0, 255, (48, 64, 3), numpy.uint8)
    Image.fromarray(pixels).save(data.root / "images" / "turned.jpg", exif=exif)
    width, height = {"as stored": (64, 48), "as shown": (48, 64), "otherwise": (60, 60)}[annotated]
    for phase in ("train", "val"):
        data.files[phase]["images"][0].update(file_name="turned.jpg", width=width, height=height)
        for entry in data.files[phase]["annotations"]:
            entry["bbox"] = [2, 2, 20, 20]
            entry["bbox"][0] += entry["category_id"]
        data.cfg[f"{phase}_dataloader"].dataset.pipeline[0].update(options)
    data.write()
    data.assert_found(kind, "turned.jpg", capsys)


@pytest.mark.parametrize("backend", ["cv2", "pillow"])
def test_what_the_pipelines_loader_takes_is_good(backend, data, capsys):
    image = Image.open(data.root / "images" / "0.png")
    image.save(data.root / "images" / "0.tga")
    for phase in ("train", "val"):
        data.files[phase]["images"][0]["file_name"] = "0.tga"
        data.cfg[f"{phase}_dataloader"].dataset.pipeline[0].imdecode_backend = backend
    data.write()
    data.assert_found(Kind.IMAGE_BROKEN if backend == "cv2" else None, "0.tga", capsys)


@TRANSFORMS.register_module()
class LoadArray:
    def __call__(self, results: dict) -> dict:
        image = numpy.load(results["img_path"])
        return {**results, "img": image, "img_shape": image.shape[:2], "ori_shape": image.shape[:2]}


@pytest.mark.parametrize("broken", [False, True])
def test_a_loader_of_ones_own_decides(broken, data, capsys):
    for number in range(IMAGES):
        path = data.root / "images" / f"{number}.npy"
        numpy.save(path, cv2.imread(str(data.root / "images" / f"{number}.png")))
        if broken and number == 2:
            path.write_bytes(path.read_bytes()[:99])
    for phase in ("train", "val"):
        for image in data.files[phase]["images"]:
            image["file_name"] = image["file_name"].replace(".png", ".npy")
        data.cfg[f"{phase}_dataloader"].dataset.pipeline[0] = dict(type="LoadArray")
    data.write()
    data.assert_found(Kind.PIPELINE if broken else None, "2.npy", capsys)


def voc(data: Data, change: Callable[[str], str] = lambda text: text, **options: Any) -> None:
    """The shapes in VOC's format, with the XML of all images changed."""
    write_voc(data.root, change)
    data.cfg.train_dataloader.dataset = dict(
        type="VOCDataset",
        data_root=f"{data.root}/",
        ann_file="list.txt",
        data_prefix=dict(sub_data_root=""),
        metainfo=dict(classes=CLASSES),
        pipeline=data.cfg.train_dataloader.dataset.pipeline,
        **options,
    )
    for phase in ("val", "test"):
        data.cfg[f"{phase}_dataloader"] = data.cfg[f"{phase}_evaluator"] = None


def replace(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


VOC: dict[str, tuple[Callable[[str], str], dict, Kind | None, str]] = {
    "nothing wrong": (replace("", ""), {}, None, ""),
    "bbox_min_size": (replace("", ""), dict(filter_cfg=dict(bbox_min_size=32)), Kind.NO_OBJECT, "bbox_min_size"),
    "bbox_min_size of some": (
        replace("", ""),
        dict(filter_cfg=dict(bbox_min_size=20)),
        Kind.BELOW_MIN_SIZE,
        "0.xml, object 3",
    ),
    "all difficult": (replace("<difficult>0", "<difficult>1"), {}, Kind.NO_OBJECT, "12 crowd, difficult"),
    "no name known": (replace("<name>", "<name>x"), {}, Kind.NO_OBJECT, "'xdisc'"),
    "a trailing space": (replace("disc<", "disc <"), {}, Kind.UNSEEN_CLASS, "'disc'; the data has 'disc ', 4"),
    "another case": (replace("disc", "DISC"), {}, Kind.UNSEEN_CLASS, "the data has 'DISC'"),
    "a class that is nowhere": (replace("disc", "bar"), {}, Kind.UNSEEN_CLASS, "'disc'"),
    "no area": (lambda text: _flat(text), {}, Kind.NO_AREA, "0.jpg"),
    "a namespace": (
        replace("<annotation>", "<annotation xmlns='http://a.b/c'>"),
        {},
        Kind.XML_BROKEN,
        "3 of 3 objects",
    ),
    "another root": (lambda text: f"<all>{text}</all>", {}, Kind.XML_BROKEN, "3 of 3 objects"),
    "tags in capitals": (replace("object>", "Object>"), {}, Kind.XML_BROKEN, "3 of 3 objects"),
    "two boxes of an object": (
        replace("</bndbox>", "</bndbox><bndbox><xmin>1</xmin></bndbox>"),
        {},
        Kind.WRONG_FIELD,
        "0.xml, object 1: 2 bndbox in place of one",
    ),
    "difficult is a text": (replace("<difficult>0", "<difficult>True"), {}, Kind.WRONG_FIELD, "difficult is 'True'"),
    "a comma in a number": (replace("</xmin>", ",5</xmin>"), {}, Kind.WRONG_FIELD, ",5'"),
}


def _flat(text: str) -> str:
    first = text.index("<xmin>")
    left = text[first + 6 : text.index("</xmin>")]
    right = text[text.index("<xmax>") + 6 : text.index("</xmax>")]
    return text.replace(f"<xmax>{right}</xmax>", f"<xmax>{left}</xmax>", 1)


@pytest.mark.parametrize("case", VOC)
def test_voc(case, data, capsys):
    change, options, kind, place = VOC[case]
    voc(data, change, **options)
    data.assert_found(kind, place, capsys)


@pytest.mark.parametrize("other", ["1.png", "1.JPG", "1.jpeg"])
def test_another_ending_beside_a_missing_image(other, data, capsys):
    voc(data)
    (data.root / "JPEGImages" / "1.jpg").rename(data.root / "JPEGImages" / other)
    data.assert_found(Kind.IMAGE_MISSING, "1.jpg", capsys)
    with pytest.raises(UserError, match=f"{other} is beside it.*\\.jpg is asked for"):
        check_data(data.cfg, ("train",))


@pytest.mark.parametrize(
    ("asked", "there"),
    [("a%20b.png", "a b.png"), ("1.png ", "1.png"), ("e\u0301.png", "\u00e9.png"), ("A .png", "a .png")],
)
def test_nearly_the_same_name_beside_a_missing_image(asked, there, data):
    (data.root / "images" / "1.png").rename(data.root / "images" / there)
    data.files["train"]["images"][1]["file_name"] = asked
    data.write()
    with pytest.raises(UserError, match=f"image not found.*\n'?{there}'? is "):
        check_data(data.cfg, ("train",))


@pytest.mark.parametrize("backend", ["cv2", "pillow"])
def test_a_cut_off_jpeg_is_named(backend, data):
    """Whether it stops a training is the decoder's word; OpenCV's versions differ."""
    voc(data)
    data.cfg.train_dataloader.dataset.pipeline[0].imdecode_backend = backend
    path = data.root / "JPEGImages" / "1.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    try:
        decoded = mmcv.imfrombytes(path.read_bytes(), backend=backend) is not None
    except OSError:
        decoded = False
    report = report_dataset(data.cfg)
    found = report.walk.parts[0].findings.by_kind
    kinds = {Kind.CUT_OFF} if decoded else {Kind.IMAGE_BROKEN, Kind.PIPELINE}
    assert report.breaks == (not decoded) and kinds & set(found) and "1.jpg" in str(report)


def test_a_checkpoint_of_the_same_classes_in_another_order():
    meta = dict(dataset_meta=dict(classes=list(CLASSES)))
    turned = {"test_dataloader.dataset": CLASSES[::-1]}
    for checkpoint, classes in (({}, turned), (dict(meta=meta), {"test_dataloader.dataset": CLASSES})):
        check_trained_classes(checkpoint, classes, "a.pth")
    check_trained_classes(dict(meta=meta), {"test_dataloader.dataset": ("other", "names")}, "a.pth")
    with pytest.raises(UserError, match=r"test_dataloader.dataset .* another order, .*'bar', .* than a.pth"):
        check_trained_classes(dict(meta=meta), turned, "a.pth")


@pytest.mark.parametrize(
    ("hooks", "expected"),
    [
        (
            dict(default_hooks=dict(checkpoint=dict(save_best="coco/bbox_map"))),
            "save_best.*\nDid you mean 'coco/bbox_mAP'",
        ),
        (dict(custom_hooks=[dict(type="EarlyStoppingHook", monitor="mAP")]), "custom_hooks.0.monitor.*no 'mAP'"),
        (dict(default_hooks=dict(checkpoint=dict(save_best=["auto", "coco/bbox_mAP_50"]))), None),
    ],
)
def test_metrics_that_hooks_wait_for(hooks, expected, data):
    data.write()
    data.cfg.merge_from_dict(hooks)
    if expected is None:
        check_data(data.cfg, ("train", "val"))
        return
    with pytest.raises(UserError, match=expected):
        check_data(data.cfg, ("train", "val"))


def test_two_evaluators_of_one_name(data):
    data.write()
    evaluator = data.cfg.val_evaluator.to_dict()
    data.cfg.val_evaluator = [evaluator, evaluator]
    with pytest.raises(UserError, match="two of val_evaluator give coco/"):
        check_data(data.cfg, ("train", "val"))
    data.cfg.val_evaluator = [evaluator, {**evaluator, "prefix": "second"}]
    check_data(data.cfg, ("train", "val"))


def test_masks_of_a_detector_without_masks(data):
    data.cfg.val_evaluator.metric = ["bbox", "segm"]
    check_masks(data.cfg, ("val",), SimpleNamespace(with_mask=True))
    with pytest.raises(UserError, match=r"val_evaluator\.metric has segm"):
        check_masks(data.cfg, ("val",), SimpleNamespace(with_mask=False))


def test_large_data_is_packed_and_reads_the_same(data, monkeypatch):
    every("train", "annotations", area=lambda entry: entry["area"] * (entry["category_id"] - 1))(data)
    data.write()
    unpacked = report_dataset(copy.deepcopy(data.cfg))
    monkeypatch.setattr(walk, "MOST_UNPACKED", 2)
    packed = report_dataset(copy.deepcopy(data.cfg))
    assert packed.walk.parts[0].data_set.serialize_data and not unpacked.walk.parts[0].data_set.serialize_data
    assert str(packed) == str(unpacked) and "left out: 4 boxes with an area field" in str(packed)


def test_max_images(data):
    data.write()
    report = report_dataset(data.cfg, max_images=2, workers=2)
    assert str(report).count("sent through the pipeline: 2 of 4 images") == 2 and not report.breaks


def test_every_kind_is_in_the_docs():
    from conftest import REPO

    from ghm_mmdet.data_check.findings import table

    assert table() in (REPO / "docs" / "checks.md").read_text(encoding="utf-8")
