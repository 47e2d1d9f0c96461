"""tools/make_digits.py: the same bytes, files that mmdet and pycocotools read, and no folder overwritten."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from mmdet.datasets import VOCDataset, XMLDataset
from pycocotools.coco import COCO
from tools.running import REPO, assert_plain, call_tool, environment, run_tool, start_tool

from ghm_mmdet.digits.scenes import CLASSES, SPLITS, SceneOptions, make_scene

NUMBERS = {"train": 12, "val": 5, "test": 3}
SMALL = [word for split, count in NUMBERS.items() for word in (f"--num-{split}", count)] + ["--image-size", "128x96"]
OPTIONS = SceneOptions(image_size=(128, 96))


def make(out: Path, *arguments: object) -> subprocess.CompletedProcess:
    return run_tool("make_digits.py", "--out", out, *SMALL, *arguments)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_coco(root: Path, split: str) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(root / f"annotations/instances_{split}.json"))


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits") / "coco"
    done = start_tool("make_digits.py", "--out", root, *SMALL, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "20/20 scenes drawn (test)" in done.stdout
    assert done.stdout.endswith(f"{root} made: 12 train, 5 val, 3 test scenes in COCO format\n")
    return root


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("digits") / "voc"
    done = make(root, "--format", "voc")
    assert done.returncode == 0, done.stderr
    return root


def test_the_same_bytes_from_any_number_of_workers(coco: Path, tmp_path: Path) -> None:
    assert make(tmp_path / "again", "--workers", 3).returncode == 0
    assert content(tmp_path / "again") == content(coco)


def test_the_same_voc_bytes_from_any_number_of_workers(voc: Path, tmp_path: Path) -> None:
    assert make(tmp_path / "again", "--format", "voc", "--workers", 1).returncode == 0
    assert content(tmp_path / "again") == content(voc)


def test_another_seed_gives_other_images(coco: Path, tmp_path: Path) -> None:
    assert make(tmp_path / "seed", "--seed", 1).returncode == 0
    here, there = content(coco), content(tmp_path / "seed")
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] == there[name]] == []


@pytest.mark.parametrize("split", SPLITS)
def test_coco_files_say_what_the_scenes_hold(coco: Path, split: str) -> None:
    data = read_coco(coco, split)
    assert len(data.imgs) == NUMBERS[split] == len(list((coco / split).iterdir()))
    assert [(category["id"], category["name"]) for category in data.loadCats(data.getCatIds())] == [
        (number + 1, name) for number, name in enumerate(CLASSES)
    ]
    annotations = data.dataset["annotations"]
    assert len(data.anns) == len(annotations), "an annotation id occurs twice"
    for image_id, image in data.imgs.items():
        pixels = cv2.imread(str(coco / split / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3) == (96, 128, 3)
        scene = make_scene(OPTIONS, split, int(Path(image["file_name"]).stem) - 1)
        # JPEG blurs colour noise, so brightness is what can be compared.
        assert cv2.absdiff(*(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY) for bgr in (pixels, scene.image))).mean() < 2
        found = data.loadAnns(data.getAnnIds(image_id))
        assert [(row["category_id"] - 1, row["bbox"], row["area"]) for row in found] == [
            (digit.label, [x1, y1, x2 - x1, y2 - y1], (x2 - x1) * (y2 - y1))
            for digit in scene.objects
            for x1, y1, x2, y2 in [digit.bbox]
        ]
        assert {row["iscrowd"] for row in found} == {0}


@pytest.mark.parametrize("dataset_type", [XMLDataset, VOCDataset])
def test_mmdet_reads_the_voc_files(coco: Path, voc: Path, dataset_type: type) -> None:
    for split in SPLITS:
        dataset = dataset_type(
            data_root=str(voc),
            ann_file=f"ImageSets/Main/{split}.txt",
            data_prefix=dict(sub_data_root=""),
            metainfo=dict(classes=CLASSES),
            test_mode=True,
        )
        assert len(dataset) == NUMBERS[split]
        data = read_coco(coco, split)
        for item, (image_id, image) in zip(dataset, data.imgs.items()):
            assert (item["width"], item["height"]) == (image["width"], image["height"])
            assert Path(item["img_path"]).read_bytes() == (coco / split / image["file_name"]).read_bytes()
            # VOC's last pixel is part of the box, so that what mmdet reads is a pixel short of COCO's x + width.
            assert [(row["bbox_label"], row["bbox"]) for row in item["instances"]] == [
                (row["category_id"] - 1, [x, y, x + width - 1, y + height - 1])
                for row in data.loadAnns(data.getAnnIds(image_id))
                for x, y, width, height in [row["bbox"]]
            ]
    lists = voc / "ImageSets/Main"
    assert (lists / "trainval.txt").read_text() == (lists / "train.txt").read_text() + (lists / "val.txt").read_text()


def test_label_noise_changes_the_annotations_of_train_alone(coco: Path, tmp_path: Path) -> None:
    noisy = tmp_path / "noisy"
    assert make(noisy, "--mislabelled", 0.3, "--jittered", 0.3, "--missing", 0.3).returncode == 0
    before, after = content(coco), content(noisy)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {
        "annotations/instances_train.json",
        "digits.json",
    }
    clean, given = read_coco(coco, "train"), read_coco(noisy, "train")
    assert set(given.anns) < set(clean.anns)
    kept = [(clean.anns[number], row) for number, row in given.anns.items()]
    assert all(truth["image_id"] == row["image_id"] for truth, row in kept)
    assert 0 < sum(truth["category_id"] != row["category_id"] for truth, row in kept) < len(kept)
    assert 0 < sum(truth["bbox"] != row["bbox"] for truth, row in kept) < len(kept)


def test_what_is_there_is_not_made_again(coco: Path) -> None:
    def state() -> list:
        return [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in sorted(coco.parent.rglob("*"))]

    before = state()
    done = make(coco)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{coco} was already made: 12 train, 5 val, 3 test scenes in COCO format\n"
    assert state() == before


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = make(tmp_path / "empty", "--num-val", 0, "--num-test", 0)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == ["annotations", "digits.json", "train"]
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_num_classes_limits_the_categories(tmp_path: Path) -> None:
    assert make(tmp_path / "few", "--num-classes", 3, "--other-digits", "negatives").returncode == 0
    data = read_coco(tmp_path / "few", "train")
    assert [category["name"] for category in data.loadCats(data.getCatIds())] == ["0", "1", "2"]
    assert {row["category_id"] for row in data.anns.values()} == {1, 2, 3}


def foreign(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("the only copy")


def other_manifest(folder: Path) -> None:
    folder.mkdir()
    (folder / "digits.json").write_text(json.dumps(["no manifest"]))


def other_options(folder: Path) -> None:
    assert make(folder, "--seed", 7).returncode == 0


def changed(folder: Path) -> None:
    assert make(folder).returncode == 0
    next((folder / "train").iterdir()).unlink()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (foreign, "holds something else than digits"),
        (other_manifest, "holds something else than digits"),
        (other_options, "holds other digits (seed 7, not 0)"),
        (changed, "has changed since it was made"),
        (lambda path: path.write_text("a file"), "is a file"),
    ],
)
def test_a_folder_that_holds_something_else_stays_as_it_is(tmp_path: Path, prepare, message: str) -> None:
    out = tmp_path / "out"
    prepare(out)
    before = content(tmp_path)
    done = make(out)
    assert_plain(done.returncode, done.stderr, str(out), message, "--out")
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--num-train", "many"], ["--num-train", "'many'", "int"]),
        (["--num-train", -1], ["--num-train", "got -1", "expected 0 to 999999"]),
        (["--num-train", 0, "--num-val", 0, "--num-test", 0], ["--num-train", "at least one image"]),
        (["--format", "kitti"], ["--format", "'kitti'", "'coco', 'voc'"]),
        (["--image-size", "big"], ["--image-size", "'big'", "WxH"]),
        (["--image-size", 16], ["--image-size", "got 16x16", "expected sides from 32"]),
        (["--objects-per-image", 5], ["--objects-per-image", "expected 2 arguments"]),
        (["--objects-per-image", 5, 4], ["--objects-per-image", "got 5 4", "MIN <= MAX"]),
        (["--objects-per-image", 90, 90], ["--objects-per-image", "got 90 90", "fits into 128x96"]),
        (["--object-size", 20, 97], ["--object-size", "got 20 97", "MAX <= 96"]),
        (["--num-classes", 11], ["--num-classes", "got 11", "expected 1 to 10"]),
        (["--other-digits", "yes"], ["--other-digits", "'yes'", "'none', 'negatives'"]),
        (["--mislabelled", 1.5], ["--mislabelled", "got 1.5", "share from 0 to 1"]),
        (["--jittered", "nan"], ["--jittered", "got nan", "share from 0 to 1"]),
        (["--missing", -0.5], ["--missing", "got -0.5", "share from 0 to 1"]),
        (["--seed", -3], ["--seed", "got -3", "integer from 0"]),
        (["--workers", 0], ["--workers", "got 0", "at least 1"]),
        (["--surprise"], ["unrecognized", "--surprise"]),
    ],
)
def test_a_bad_option_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list, expected: list[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        call_tool("make_digits", [str(word) for word in ("--out", tmp_path / "out", *SMALL, *arguments)])
    output = capsys.readouterr()
    assert_plain(stop.value.code, output.err, *expected)
    assert len(output.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    out = Path("/proc/self/digits") if os.geteuid() == 0 else tmp_path / "closed" / "digits"
    (tmp_path / "closed").mkdir(mode=0o500)
    done = make(out)
    assert_plain(done.returncode, done.stderr, f"cannot write {out}")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, str(REPO / "tools/make_digits.py"), "--out", str(tmp_path / "out"), "--num-train", "700"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    assert "/1000 scenes drawn" in process.stdout.readline()
    process.send_signal(how)
    _, error = process.communicate()
    assert process.returncode == 128 + how
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
