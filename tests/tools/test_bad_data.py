"""Data that is wrong: tools/train.py takes it as mmdet does, or names the file before anything is written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy
import pytest
from tools.running import CLASSES, CONFIG, call_tool, write_shapes, write_voc

pytestmark = pytest.mark.slow
IMAGES = 4
# One short epoch, no validation.
QUICK = """
train_cfg = dict(max_epochs=1)
val_cfg = val_dataloader = val_evaluator = None
default_hooks = dict(checkpoint=None)
custom_hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=1)]
"""
VOC = """
voc = dict(_delete_=True, type="VOCDataset", data_root="{data}/", ann_file="list.txt",
           data_prefix=dict(sub_data_root=""), metainfo={{{{_base_.metainfo}}}}, pipeline={{{{_base_.pipeline}}}})
train_dataloader = dict(dataset=voc)
test_dataloader = dict(dataset=dict(voc, test_mode=True))
test_evaluator = dict(_delete_=True, type="VOCMetric")
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shapes in COCO's format, and in VOC's beside it."""
    root = tmp_path_factory.mktemp("origin") / "data"
    write_shapes(root, IMAGES)
    write_voc(root)
    return root


@pytest.fixture
def data(origin: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(origin, tmp_path / "data"))


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture) -> Run:
    """Runs a tool's main() in this process; returns its exit code and what it printed."""

    def run_one(tool: str, *arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = 0
        try:
            call_tool(tool, [*map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out + err

    return run_one


def write_config(data: Path, voc: bool) -> Path:
    (data.parent / "shapes.py").write_text(CONFIG.format(data=data))
    config = data.parent / "config.py"
    config.write_text(f'_base_ = "shapes.py"\n{VOC.format(data=data) if voc else ""}{QUICK}')
    return config


def assert_outcome(run: Run, data: Path, voc: bool, breaks: bool, said: str | None, places: str) -> None:
    """That check_dataset says whether it breaks, and train refuses it with `said` and the places, or goes through.

    All losses of a training that goes through are finite: FiniteLossHook looks at every iteration.
    """
    config = write_config(data, voc)
    code, report = run("check_dataset", config)
    assert code == breaks, report
    assert ("breaks training" in report) == breaks
    if breaks:
        assert any(place in report for place in places.split("|")), report
    work_dir = data.parent / "run"
    code, output = run("train", config, "--work-dir", work_dir)
    if said is None:
        assert code == 0, output
        return
    assert code == 2, output
    message = output[output.index("error: ") :]
    assert said in message and any(place in message for place in places.split("|")), output
    assert len(message.splitlines()) <= 2, output
    # What only decoding the images would find ends the training when it gets there.
    assert work_dir.exists() == (said in LATE)


LATE = ("cannot decode the image", "is inf at iteration", "is nan at iteration")


def annotation(**changes: Any) -> Callable[[dict], None]:
    return lambda content: content["annotations"][1].update(changes)


def without(what: str, key: str) -> Callable[[dict], None]:
    return lambda content: content[what][1].pop(key)


NUMBERS = "entries with a missing or wrong field"
# What is changed, whether check_dataset says that it breaks training, and what train says of it.
COCO = {
    "nothing wrong": (lambda content: None, False, None),
    "no objects at all": (lambda content: content.update(annotations=[]), True, "no image is left"),
    "no list of annotations": (lambda content: content.pop("annotations"), True, "no image is left"),
    "an image without objects": (lambda content: content.update(annotations=content["annotations"][3:]), False, None),
    "no images": (lambda content: content.update(images=[]), True, "no image is left"),
    "zero size": (annotation(bbox=[3, 3, 0, 9]), False, None),
    "negative width": (annotation(bbox=[30, 3, -9, 9]), False, None),
    "outside": (annotation(bbox=[90, 90, 9, 9]), False, None),
    "partly outside": (annotation(bbox=[60, 60, 30, 30]), False, None),
    "huge": (annotation(bbox=[0, 0, 1e30, 1e30]), False, None),
    "crowd": (annotation(iscrowd=1), False, None),
    "nothing but crowd": (
        lambda content: [entry.update(iscrowd=1) for entry in content["annotations"]],
        True,
        "no object is left to learn from",
    ),
    "unknown category": (annotation(category_id=9), True, "unknown category ids"),
    "category null": (annotation(category_id=None), True, "category_id is None"),
    "texts": (annotation(bbox=["1", "2", "9", "9"]), True, NUMBERS),
    "nan": (annotation(bbox=[float("nan"), 0, 9, 9]), True, NUMBERS),
    "box null": (annotation(bbox=None), True, NUMBERS),
    "three numbers": (annotation(bbox=[1, 2, 3]), True, NUMBERS),
    "no area": (without("annotations", "area"), True, "area is None"),
    "no id": (without("annotations", "id"), True, "id is None"),
    "no image id": (without("annotations", "image_id"), True, "image_id is None"),
    "ids twice": (annotation(id=1), True, "annotation ids used twice"),
    "an unknown image": (annotation(image_id=99), False, None),
    "images twice": (lambda content: content["images"].append(content["images"][0]), True, "image ids used twice"),
    "no width": (without("images", "width"), True, "width is None"),
    "file name null": (lambda content: content["images"][1].update(file_name=None), True, "file_name is None"),
    "a folder as image": (lambda content: content["images"][1].update(file_name="."), True, "image not found"),
    "wrong image size": (lambda content: content["images"][1].update(width=640, height=480), False, None),
    "outside, and a wrong image size": (
        lambda content: (
            content["images"][0].update(width=640, height=480),
            content["annotations"][1].update(bbox=[200, 200, 90, 90]),
        ),
        True,
        "boxes without an area",
    ),
    "categories reversed": (lambda content: content["categories"].reverse(), False, None),
    "a category less": (lambda content: content["categories"].pop(), True, "unknown category ids"),
    "categories are texts": (lambda content: content.update(categories=list(CLASSES)), True, "that are no objects"),
    "other categories": (
        lambda content: [entry.update(name=f"x{entry['id']}") for entry in content["categories"]],
        True,
        "none of the config's classes",
    ),
    "images are numbers": (lambda content: content.update(images=[1, 2]), True, "images[0] is 1"),
    "annotations are null": (lambda content: content.update(annotations=None), True, "no list annotations"),
    "an annotation is null": (lambda content: content["annotations"].append(None), True, "annotations[12] is None"),
}


@pytest.mark.parametrize("case", COCO)
def test_coco(case: str, run: Run, data: Path) -> None:
    change, breaks, said = COCO[case]
    content = json.loads((data / "annotations.json").read_text())
    change(content)
    (data / "annotations.json").write_text(json.dumps(content))
    assert_outcome(run, data, False, breaks, said, "annotations.json|0.png|images")


def both(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def apply(data: Path) -> None:
        for path in (data / "images" / "1.png", data / "JPEGImages" / "1.jpg"):
            change(path)

    return apply


def replace_by(kind: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.unlink()
        path.mkdir() if kind == "folder" else path.symlink_to("gone")

    return both(apply)


FILES = {
    "missing": (both(Path.unlink), True, "image not found"),
    "empty": (both(lambda path: path.write_bytes(b"")), True, "image file is empty"),
    "notes": (both(lambda path: path.write_bytes(b"these are notes")), True, "cannot decode the image"),
    "cut": (both(lambda path: path.write_bytes(path.read_bytes()[:999])), True, "cannot decode the image"),
    "folder": (replace_by("folder"), True, "image not found"),
    "dangling link": (replace_by("link"), True, "image not found"),
    "grey": (both(lambda path: cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))), False, None),
    "png named jpg": (lambda data: shutil.copy(data / "images/1.png", data / "JPEGImages/1.jpg"), False, None),
    "16 bit with alpha": (
        lambda data: cv2.imwrite(str(data / "images/1.png"), numpy.full((64, 64, 4), 90, numpy.uint16)),
        False,
        None,
    ),
}


@pytest.mark.parametrize("voc", [False, True])
@pytest.mark.parametrize("case", FILES)
def test_image_files(case: str, voc: bool, run: Run, data: Path) -> None:
    change, breaks, said = FILES[case]
    change(data)
    assert_outcome(run, data, voc, breaks, said, "1.jpg" if voc else "1.png")


def all_x(x1: int, x2: int) -> Callable[[str], str]:
    return lambda text: re.sub(r"<xmin>\d+", f"<xmin>{x1}", re.sub(r"<xmax>\d+", f"<xmax>{x2}", text))


def replace(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


NOT_XML = "not whole XML"
SIZE = "<size><width>64</width><height>64</height></size>"
BOMB = "".join(f"<!ENTITY x{i + 1} '{f'&x{i};' * 10}'>" for i in range(9))
VOCS = {
    "nothing wrong": (replace("", ""), False, None),
    "empty": (lambda text: "", True, NOT_XML),
    "cut": (lambda text: text[: len(text) // 2], True, NOT_XML),
    "not utf-8": (lambda text: text.replace("disc", "disc\xff").encode("latin-1"), True, NOT_XML),
    "utf-16": (lambda text: text.encode("utf-16"), False, None),
    "latin-1": (
        lambda text: ("<?xml version='1.0' encoding='latin-1'?>" + text.replace("disc", "d\xefsc")).encode("latin-1"),
        False,
        None,
    ),
    "another root": (lambda text: "<html/>", False, None),
    "a bomb": (lambda text: f"<!DOCTYPE a [<!ENTITY x0 '{'y' * 50}'>{BOMB}]><a>&x9;</a>", True, NOT_XML),
    "no objects": (lambda text: text[: text.index("<object>")] + "</annotation>", False, None),
    "no size": (replace(SIZE, ""), False, None),
    "size 0": (replace("<width>64", "<width>0"), False, None),
    "no box": (replace("bndbox", "polygon"), True, "no bndbox"),
    "nan": (replace("<xmin>", "<xmin>nan"), True, "nan"),
    "no name": (replace("<name>disc</name>", "<name></name>"), True, "no name"),
    "unknown class": (replace("disc", "ring"), False, None),
    "difficult": (replace("<difficult>0", "<difficult>1"), False, None),
    "flat boxes": (all_x(1, 1), True, "boxes without an area"),
    "turned boxes": (all_x(9, 1), True, "boxes without an area"),
    "boxes outside": (all_x(900, 990), True, "boxes without an area"),
}


@pytest.mark.parametrize("case", VOCS)
def test_voc(case: str, run: Run, data: Path) -> None:
    change, breaks, said = VOCS[case]
    path = data / "Annotations" / "1.xml"
    text = change(path.read_text())
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_outcome(run, data, True, breaks, said, "1.xml|1.jpg")


def test_testing_refuses_it_too(run: Run, data: Path, shapes) -> None:
    """And an evaluator with the annotations of other images."""
    config = write_config(data, voc=False)
    work_dir = ["--work-dir", data.parent / "test"]
    content = json.loads((data / "annotations.json").read_text())
    fewer = data.parent / "fewer.json"
    fewer.write_text(json.dumps({**content, "images": content["images"][1:]}))
    options = ["--cfg-options", f"test_evaluator.ann_file={fewer}"]
    code, output = run("test", config, shapes.checkpoint, *work_dir, *options)
    assert code == 2 and f"lacks 1 of the 4 images of test_dataloader.dataset: {fewer}" in output
    content["annotations"][5]["bbox"] = "0 0 9 9"
    (data / "annotations.json").write_text(json.dumps(content))
    code, output = run("test", config, shapes.checkpoint, *work_dir)
    assert code == 2 and NUMBERS in output and "annotation 6: bbox is '0 0 9 9'" in output
    assert not (data.parent / "test").exists()
