"""ghm_mmdet/data_check/dataset_report.py: what is counted and found, and annotation files broken in many ways."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from small_detectors import faster_rcnn, retinanet
from tools.running import CLASSES, write_shapes
from torchvision.ops import box_iou

from ghm_mmdet.data_check.dataset_report import Report, report_dataset
from ghm_mmdet.data_check.findings import Kind

IMAGES = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("report") / "data"
    write_shapes(root, IMAGES)
    return root


@pytest.fixture(scope="module")
def with_model(tmp_path_factory, data) -> Config:
    return retinanet(tmp_path_factory.mktemp("config"), data)


@pytest.fixture
def cfg(with_model) -> Config:
    changed = copy.deepcopy(with_model)
    changed.model = None
    return changed


@pytest.fixture
def content(data) -> dict:
    return json.loads((data / "annotations.json").read_text())


def check(cfg: Config, path: Path, written: str | bytes | dict) -> Report:
    """The report when all data sets and evaluators read what is written to `path`."""
    if isinstance(written, dict):
        written = json.dumps(written)
    path.write_bytes(written if isinstance(written, bytes) else written.encode())
    for phase in ("train", "val", "test"):
        cfg[f"{phase}_dataloader"].dataset.ann_file = str(path)
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = str(path)
    return report_dataset(cfg)


def found_in(report: Report) -> set[Kind]:
    parts = [part.findings for part in report.walk.parts]
    return {kind for findings in (report.walk.findings, *parts) for kind in findings.by_kind}


def assert_sound(report: Report, cfg: Config) -> None:
    """A text that can be printed; and where nothing breaks, mmdet loads every image with boxes a loss can take."""
    assert str(report).encode()
    assert not re.search(r"[^\n -~\u00a0-\U0010ffff]", str(report)), "control characters"
    assert len(str(report)) < 10_000
    if report.breaks:
        assert "  breaks training: " in str(report)
        return
    data_set = DATASETS.build({**cfg.train_dataloader.dataset, "serialize_data": False})
    assert len(data_set) > 0
    for index in range(len(data_set)):
        instances = data_set[index]["data_samples"].gt_instances
        boxes = instances.bboxes.tensor
        assert torch.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        assert (instances.labels < len(CLASSES)).all()


def test_counts_what_is_there(with_model, content):
    report = report_dataset(with_model)
    assert not report.breaks and not found_in(report)
    train, evaluated = report.walk.parts
    assert train.places == ["train_dataloader.dataset"]
    assert evaluated.places == ["val_dataloader.dataset", "test_dataloader.dataset"]
    areas = [entry["bbox"][2] * entry["bbox"][3] for entry in content["annotations"]]
    for part in (train, evaluated):
        assert (part.images, part.without_objects, part.objects) == (IMAGES, 0, dict.fromkeys(CLASSES, IMAGES))
        assert part.sizes == {"small": sum(area < 32 * 32 for area in areas)}
    assert "disc 3, square 3, bar 3" in str(report) and str(report).endswith("break training.")


def test_box_sizes_and_images_without_objects(cfg, content, tmp_path):
    sides = iter([10, 31, 32, 60, 62, 63])
    content["annotations"] = content["annotations"][:6]
    for entry in content["annotations"]:
        entry["bbox"] = [0, 0, *[next(sides)] * 2]
    train, evaluated = check(cfg, tmp_path / "sizes.json", content).walk.parts
    assert train.sizes == evaluated.sizes == {"small": 2, "medium": 4}
    # mmdet takes images without objects out of the training data.
    assert (train.without_objects, evaluated.without_objects) == (0, 1)


def naive_matches(model: Any, boxes: torch.Tensor) -> list[int]:
    """RetinaNet's rule with plain loops: IoU of at least 0.5 with the best object, and every object's best anchors."""
    head = model.bbox_head
    sizes = [(64 // stride,) * 2 for stride in (8, 16, 32, 64)]
    overlaps = box_iou(boxes, torch.cat(head.prior_generator.grid_priors(sizes, device="cpu")))
    owner = [int(row.argmax()) if row.max() >= 0.5 else None for row in overlaps.T]
    for index, row in enumerate(overlaps):
        for anchor in range(len(row)):
            if row[anchor] == row.max():
                owner[anchor] = index
    return [owner.count(index) for index in range(len(boxes))]


def test_anchors_matched_per_object(with_model, content):
    (line,) = report_dataset(with_model).anchors
    model = MODELS.build(with_model.model)
    counts = []
    for image in content["images"]:
        corners = [entry["bbox"] for entry in content["annotations"] if entry["image_id"] == image["id"]]
        boxes = torch.tensor(corners, dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        counts += naive_matches(model, boxes)
    assert "bbox_head (RetinaHead)" in line
    assert f"mean {sum(counts) / len(counts):.1f}, median {sorted(counts)[len(counts) // 2]}" in line
    assert f"least {min(counts)}, most {max(counts)}; {counts.count(0)} of {len(counts)} objects" in line


def test_a_region_proposal_head_counts_before_it_samples(tmp_path, data):
    (line,) = report_dataset(faster_rcnn(tmp_path, data)).anchors
    assert re.search(rf"rpn_head \(RPNHead\): mean .* of {3 * IMAGES} objects", line)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model.bbox_head.loss_cls.use_sigmoid": False}, "not counted, bbox_head (RetinaHead) classifies with a soft"),
        ({"model": None}, "the config defines no model"),
        ({"train_dataloader": None}, "there is no training data"),
    ],
)
def test_without_anchors_a_line_says_so(with_model, options, expected):
    changed = copy.deepcopy(with_model)
    changed.merge_from_dict(options)
    report = report_dataset(changed)
    assert not report.breaks
    assert expected in "\n".join(report.anchors)


def test_only_the_first_places_are_printed(cfg, content, tmp_path):
    for entry in content["annotations"]:
        entry["category_id"] = 77
    text = str(check(cfg, tmp_path / "many.json", content))
    assert text.count("unknown category ids, not among the file's categories: 9\n") == 2
    assert text.count("category_id 77") == 2 * 3 and text.count("and 6 more") == 2


def test_classes_that_do_not_fit_the_head(with_model):
    changed = copy.deepcopy(with_model)
    changed.model.bbox_head.num_classes = 4
    report = report_dataset(changed)
    assert report.breaks and "num_classes is 4" in str(report)


def test_wrapped_data_sets_are_told_apart(cfg, content, data, tmp_path):
    inner = cfg.train_dataloader.dataset.to_dict()
    broken = {**inner, "ann_file": "gone.json"}
    cfg.train_dataloader.dataset = dict(
        type="RepeatDataset", times=9, dataset=dict(type="ConcatDataset", datasets=[inner, broken])
    )
    whole, gone, _ = report_dataset(cfg).walk.parts
    assert not whole.findings.breaking and whole.images == IMAGES
    assert gone.places == ["train_dataloader.dataset.dataset.datasets.1"]
    assert "gone.json" in gone.findings.breaking[Kind.PATH].places[0]


JUNK = {
    "null": None,
    "true": True,
    "zero": 0,
    "negative": -1,
    "half": 0.5,
    "nan": float("nan"),
    "infinite": float("inf"),
    "huge": 10**400,
    "text": "text",
    "ugly text": "\ud800\n\x1b[31m\x00",
    "list": [],
    "nested": [[[[{}]]]],
    "numbers": [1, 2, 3],
    "nans": [float("nan")] * 4,
    "texts": ["a"] * 4,
    "huge numbers": [3e38, 3e38, 3e38, 3e38],
    "object": {},
}
FIELDS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore", "segmentation"),
    "categories": ("id", "name"),
}


@pytest.mark.parametrize("junk", [*JUNK, "missing"])
@pytest.mark.parametrize("what", FIELDS)
def test_fuzz_fields(cfg, content, tmp_path, what, junk):
    for index, key in enumerate((*FIELDS[what], None)):
        changed = copy.deepcopy(content)
        if key is None:
            changed[what][0] = JUNK.get(junk)
        elif junk == "missing":
            changed[what][0].pop(key, None)
        else:
            changed[what][0][key] = JUNK[junk]
        assert_sound(check(cfg, tmp_path / f"{index}.json", changed), cfg)


@pytest.mark.parametrize("junk", JUNK)
def test_fuzz_structure(cfg, content, tmp_path, junk):
    for index, what in enumerate(FIELDS):
        assert_sound(check(cfg, tmp_path / f"{index}.json", {**content, what: JUNK[junk]}), cfg)
    report = check(cfg, tmp_path / "whole.json", json.dumps(JUNK[junk]))
    assert report.breaks
    assert_sound(report, cfg)


@pytest.mark.parametrize("seed", range(10))
def test_fuzz_bytes(cfg, data, tmp_path, seed):
    generator = random.Random(seed)
    whole = (data / "annotations.json").read_bytes()
    for index in range(6):
        cut = check(cfg, tmp_path / f"cut_{index}.json", whole[: generator.randrange(len(whole) - 1)])
        assert cut.breaks
        assert_sound(cut, cfg)
        flipped = bytearray(whole)
        for _ in range(index + 1):
            flipped[generator.randrange(len(whole))] = generator.randrange(256)
        assert_sound(check(cfg, tmp_path / f"flipped_{index}.json", bytes(flipped)), cfg)
        spliced = whole[: generator.randrange(len(whole))] + whole[generator.randrange(len(whole)) :]
        assert_sound(check(cfg, tmp_path / f"spliced_{index}.json", spliced), cfg)


@pytest.mark.parametrize(
    "written",
    [b"", b"\x00" * 99, bytes(range(256)), b"[" * 100_000, b'{"images": ' + b"9" * 5000 + b"}", b"\xff\xfe{\x00}\x00"],
)
def test_fuzz_files(cfg, tmp_path, written):
    report = check(cfg, tmp_path / "junk.json", written)
    assert report.breaks and str(tmp_path / "junk.json") in str(report)
    assert_sound(report, cfg)


def test_names_of_another_alphabet(cfg, content, tmp_path):
    content["images"][0]["file_name"] = "图像\n.png"
    report = check(cfg, tmp_path / "names.json", json.dumps(content, ensure_ascii=False))
    assert report.breaks and "图像\\n.png" in str(report)


OBJECT = """<annotation><size><width>64</width><height>64</height><depth>3</depth></size><object><name>disc</name>
<difficult>0</difficult><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>40</xmax><ymax>41</ymax></bndbox></object>
</annotation>"""


@pytest.fixture
def voc(cfg, tmp_path) -> Callable[..., Report]:
    """Writes VOC data of two images, the second with the XML that is given, and reports on it."""
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "JPEGImages" / f"{name}.jpg"), numpy.zeros((64, 64, 3), numpy.uint8))
        (tmp_path / "Annotations" / f"{name}.xml").write_text(OBJECT)
    data_set = dict(
        type="VOCDataset",
        data_root=str(tmp_path),
        ann_file="list.txt",
        data_prefix=dict(sub_data_root=""),
        metainfo=dict(classes=CLASSES),
        pipeline=cfg.train_dataloader.dataset.pipeline,
    )
    for phase in ("val", "test"):
        cfg[f"{phase}_dataloader"] = cfg[f"{phase}_evaluator"] = None
    cfg.train_dataloader.dataset = data_set

    def run(xml: str | bytes = OBJECT, names: str | bytes = "a\nb\n", model: Any = None) -> Report:
        (tmp_path / "list.txt").write_bytes(names if isinstance(names, bytes) else names.encode())
        (tmp_path / "Annotations" / "b.xml").write_bytes(xml if isinstance(xml, bytes) else xml.encode())
        cfg.model = model
        report = report_dataset(cfg)
        if model is None:
            assert_sound(report, cfg)
        return report

    return run


def test_voc_counts(voc):
    (part,) = voc().walk.parts
    assert (part.images, part.objects["disc"], part.sizes["medium"]) == (2, 2, 2)
    # No image shows the other classes, and VOC's format has no list of those that there are.
    assert set(part.findings.by_kind) == {Kind.UNSEEN_CLASS}


@pytest.mark.parametrize("names", ["", "\n\n", "a\ngone\n", "a\na\n", b"\xff\xfe\x00", "a\n../\x00\n", "a\n\ud7ff\n"])
def test_voc_lists(voc, names):
    report = voc(names=names)
    assert report.breaks == (names != "a\na\n")


@pytest.mark.parametrize("seed", range(6))
def test_voc_fuzz(voc, seed):
    generator = random.Random(seed)
    for index in range(6):
        assert voc(OBJECT[: generator.randrange(len(OBJECT))]).breaks
        flipped = bytearray(OBJECT.encode())
        for _ in range(index + 1):
            flipped[generator.randrange(len(flipped))] = generator.randrange(256)
        voc(bytes(flipped))
    voc(OBJECT.replace("<annotation>", f"<?xml version='1.0' encoding='{['utf-16', 'nonsense', 'big5'][seed % 3]}'?>"))
