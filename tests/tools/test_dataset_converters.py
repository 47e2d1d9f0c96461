"""tools/dataset_converters/deeppcb.py on a folder as DeepPCB is laid out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from PIL import Image
from pycocotools.coco import COCO
from tools.running import assert_plain, run_tool

TOOL = "dataset_converters/deeppcb.py"
LABELS = "10 20 40 60 3\n100 90 130 94 6\n"


def write_boards(root: Path, trainval: int = 103, test: int = 2) -> Path:
    """Images of 160 x 100 pixels, each with the same two boxes, and the template beside it that no list names."""
    for split, number in (("trainval", trainval), ("test", test)):
        lines = []
        for index in range(number):
            name = f"{split}{index:03}"
            for kind, value in (("test", index), ("temp", 255)):
                path = root / f"PCBData/group/{split}/{name}_{kind}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(numpy.full((100, 160), value, numpy.uint8)).save(path)
            labels = root / f"PCBData/group/{split}_not/{name}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text(LABELS)
            lines.append(f"group/{split}/{name}.jpg group/{split}_not/{name}.txt")
        (root / f"PCBData/{split}.txt").write_text("\n".join(lines))
    return root


def test_labels_are_those_of_the_folder(tmp_path):
    root = write_boards(tmp_path)
    finished = run_tool(TOOL, root)
    assert finished.returncode == 0, finished.stderr
    names = {}
    for split, number in (("train", 3), ("val", 100), ("test", 2)):
        coco = COCO(root / f"annotations/{split}.json")
        assert len(coco.imgs) == number
        for image in coco.loadImgs(coco.getImgIds()):
            assert (image["width"], image["height"]) == (160, 100)
            assert image["file_name"].endswith("_test.jpg") and (root / "PCBData" / image["file_name"]).is_file()
            first, second = coco.imgToAnns[image["id"]]
            assert (first["bbox"], coco.cats[first["category_id"]]["name"]) == ([10, 20, 30, 40], "mousebite")
            assert (second["bbox"], coco.cats[second["category_id"]]["name"]) == ([100, 90, 30, 4], "pin-hole")
        names[split] = {image["file_name"] for image in coco.imgs.values()}
    assert len(names["train"] | names["val"]) == 103
    assert all("/test/" in name for name in names["test"])


def test_a_second_run_writes_the_same(tmp_path):
    root = write_boards(tmp_path)
    contents = []
    for _ in range(2):
        assert run_tool(TOOL, root).returncode == 0
        contents.append({path.name: path.read_bytes() for path in (root / "annotations").iterdir()})
    assert contents[0] == contents[1] and len(json.loads(contents[0]["val.json"])["images"]) == 100


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("10 20 40 60 7", "no box of a class from 1 to 6"),
        ("10 20 10 60 1", "no box"),
        ("10 20 40 60", "not five whole numbers"),
        ("10 20 40 60 open", "not five whole numbers"),
    ],
)
def test_a_bad_label_is_named_and_nothing_is_written(tmp_path, labels, message):
    root = write_boards(tmp_path)
    (root / "PCBData/group/test_not/test001.txt").write_text(LABELS + labels)
    finished = run_tool(TOOL, root)
    assert_plain(finished.returncode, finished.stderr, "test001.txt, line 3", message)
    assert not (root / "annotations").exists()


def test_bad_folders(tmp_path):
    finished = run_tool(TOOL, tmp_path)
    assert_plain(finished.returncode, finished.stderr, "trainval.txt")
    root = write_boards(tmp_path)
    (root / "PCBData/group/test/test001_test.jpg").write_bytes(b"no image")
    finished = run_tool(TOOL, root)
    assert_plain(finished.returncode, finished.stderr, "test001_test.jpg")
    (root / "PCBData/group/test/test001_test.jpg").unlink()
    finished = run_tool(TOOL, root)
    assert_plain(finished.returncode, finished.stderr, "test001_test.jpg")
    (root / "PCBData/test.txt").write_text("and then three words")
    finished = run_tool(TOOL, root)
    assert_plain(finished.returncode, finished.stderr, "test.txt, line 1", "not an image and its labels")
