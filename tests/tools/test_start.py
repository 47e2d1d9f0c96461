"""ghm-mmdet start: from a folder of labelled images to a config, and to a trained detector."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from PIL import Image
from tools.running import CLASSES, assert_plain, run_tool, start_tool, write_shapes

from ghm_mmdet.config import load_config
from ghm_mmdet.custom_dataset.detector_config import as_python
from ghm_mmdet.custom_dataset.loss_choice import LOSSES, RECOMMENDATIONS, recommend


def hashes(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The folder of the data, the work dir, and what was printed; the data lie in a folder with a space in its name."""
    root = tmp_path_factory.mktemp("start")
    data = root / "my shapes"
    write_shapes(data, images=12)
    before = hashes(data)
    done = start_tool("start.py", data, "--seed", "3", "--epochs", "2", "--size", "cpu", cwd=root)
    assert done.returncode == 0, done.stderr
    assert hashes(data) == before, "the user's data were changed"
    return data, root / "work_dirs" / "my shapes", done.stdout


def test_it_says_what_it_found(started: tuple[Path, Path, str]) -> None:
    data, work_dir, output = started
    assert f"{data}: COCO JSON, 12 images, 3 classes" in output
    assert "objects: disc 12, square 12, bar 12" in output
    assert "split: train 8, val 2, test 2 (drawn with seed 3)" in output
    assert re.search(r"Positives: one of [\d,]+ logits\. Loss: .*\(docs/results\.md\)", output)
    assert "loading annotations" not in output
    assert "Nothing was found that would break training." in (work_dir / "data_check.txt").read_text()
    (command,) = [line.strip() for line in output.splitlines() if line.strip().startswith("ghm-mmdet start")]
    assert command == f"ghm-mmdet start '{data}' --train"


def test_split_is_written_down(started: tuple[Path, Path, str]) -> None:
    _, work_dir, _ = started
    rows = [line.split(",") for line in (work_dir / "split.csv").read_text().splitlines()]
    assert rows.pop(0) == ["split", "image"]
    assert sorted(name for _, name in rows) == sorted(f"images/{number}.png" for number in range(12))
    for split in ("train", "val", "test"):
        content = json.loads((work_dir / "annotations" / f"{split}.json").read_text())
        assert [entry["file_name"] for entry in content["images"]] == [name for part, name in rows if part == split]


def test_config_is_short_and_has_what_was_measured(started: tuple[Path, Path, str]) -> None:
    _, work_dir, _ = started
    path = work_dir / "my shapes.py"
    assert len(path.read_text().splitlines()) < 70
    config = load_config(str(path), [], work_dir=None, launcher="none")
    head = config.model.bbox_head
    assert head.num_classes == 3 and tuple(config.train_dataloader.dataset.metainfo.classes) == CLASSES
    loss = LOSSES[json.loads((work_dir / "start.json").read_text())["loss"]]
    assert head.loss_cls == {key: value for key, value in loss.loss_cls.items() if key != "_delete_"}
    assert config.train_cfg.max_epochs == 2 and config.param_scheduler[1]["T_max"] == 2
    assert Path(config.work_dir) == work_dir / "training"


@pytest.mark.parametrize("name", ["threshold", "ghm-released"])
def test_config_of_a_chosen_loss_passes_the_check(tmp_path: Path, name: str) -> None:
    write_shapes(tmp_path / "data", images=12)
    done = run_tool("start.py", tmp_path / "data", "--size", "cpu", "--loss", name, cwd=tmp_path)
    assert done.returncode == 0 and LOSSES[name].title in done.stdout, done.stderr
    done = run_tool("check_dataset.py", tmp_path / "work_dirs" / "data" / "data.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    config = load_config(str(tmp_path / "work_dirs" / "data" / "data.py"), [], work_dir=None, launcher="none")
    head = config.model.bbox_head
    for key, loss in (("loss_cls", LOSSES[name].loss_cls), ("loss_bbox", LOSSES[name].loss_bbox)):
        assert head[key] == {field: value for field, value in loss.items() if field != "_delete_"}


def test_a_second_call_finds_it(started: tuple[Path, Path, str]) -> None:
    data, work_dir, _ = started
    config = work_dir / "my shapes.py"
    edited = config.read_text() + "# mine\n"
    config.write_text(edited)
    done = run_tool("start.py", data, cwd=work_dir.parents[1])
    assert done.returncode == 0, done.stderr
    assert f"prepared before: {config}" in done.stdout and config.read_text() == edited


@pytest.mark.parametrize("option", [("--loss", "ce"), ("--epochs", "3"), ("--seed", "4"), ("--size", "gpu")])
def test_another_option_is_refused(started: tuple[Path, Path, str], option: tuple[str, str]) -> None:
    data, work_dir, _ = started
    before = hashes(work_dir)
    done = run_tool("start.py", data, *option, cwd=work_dir.parents[1])
    assert_plain(done.returncode, done.stderr, f"{option[0]} was", "--fresh", "--work-dir")
    assert hashes(work_dir) == before


def test_changed_labels_are_noticed(started: tuple[Path, Path, str], tmp_path: Path) -> None:
    data, work_dir, _ = started
    file = data / "annotations.json"
    kept = file.read_text()
    content = json.loads(kept)
    content["annotations"].pop()
    try:
        file.write_text(json.dumps(content))
        done = run_tool("start.py", data, cwd=work_dir.parents[1])
    finally:
        file.write_text(kept)
    assert_plain(done.returncode, done.stderr, "the labels have changed")


@pytest.mark.slow
def test_train_ends_with_the_figures_a_picture_and_a_report(started: tuple[Path, Path, str]) -> None:
    data, work_dir, _ = started
    done = run_tool("start.py", data, "--train", cwd=work_dir.parents[1], COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert re.search(r"epoch 1/2, iteration \d+, loss \d", done.stdout)
    metrics = json.loads((work_dir / "metrics.json").read_text())
    row = r" +│ +".join(f"{metrics[f'coco/bbox_{name}']:.3f}" for name in ("mAP", "mAP_50", "mAP_75"))
    assert re.search(row, done.stdout), done.stdout
    with Image.open(work_dir / "detections.png") as picture:
        assert picture.width > 1280
    assert "<html" in (work_dir / "report.html").read_text()
    checkpoint = work_dir / "training" / "epoch_2.pth"
    before = checkpoint.stat().st_mtime_ns

    done = run_tool("start.py", data, "--train", cwd=work_dir.parents[1], COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert f"trained before: {checkpoint}" in done.stdout and re.search(row, done.stdout)
    assert checkpoint.stat().st_mtime_ns == before

    done = run_tool("start.py", data, "--fresh", "--weights", checkpoint, "--epochs", "1", cwd=work_dir.parents[1])
    assert done.returncode == 0, done.stderr
    assert (work_dir.parent / "my shapes.1" / "training" / "epoch_2.pth").is_file()
    moved = work_dir.parent / "my shapes.1" / "training" / "epoch_2.pth"
    assert Config.fromfile(work_dir / "my shapes.py").load_from == str(checkpoint) != str(moved)


def test_bad_folders_end_plainly(tmp_path: Path) -> None:
    done = run_tool("start.py", tmp_path / "nowhere", cwd=tmp_path)
    assert_plain(done.returncode, done.stderr, "folder not found", "nowhere")
    (tmp_path / "empty").mkdir()
    done = run_tool("start.py", tmp_path / "empty", cwd=tmp_path)
    assert_plain(done.returncode, done.stderr, "the folder is empty")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_broken_image_ends_plainly(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", images=4)
    image = tmp_path / "data" / "images" / "2.png"
    image.write_bytes(image.read_bytes()[:300])
    done = run_tool("start.py", tmp_path / "data", "--size", "cpu", cwd=tmp_path)
    assert_plain(done.returncode, done.stderr, "2.png", "data_check.txt")


def test_work_dirs_that_do_not_fit(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", images=4)
    done = run_tool("start.py", tmp_path / "data", "--work-dir", tmp_path / "data" / "out", cwd=tmp_path)
    assert_plain(done.returncode, done.stderr, "lies inside the data")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "only copy.txt").write_text("")
    done = run_tool("start.py", tmp_path / "data", "--work-dir", tmp_path / "thesis", cwd=tmp_path)
    assert_plain(done.returncode, done.stderr, "holds something else already")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["only copy.txt"]


def test_work_dir_of_another_folder_of_that_name_is_refused(started: tuple[Path, Path, str], tmp_path: Path) -> None:
    data, work_dir, _ = started
    write_shapes(tmp_path / data.name, images=12)
    before = hashes(work_dir)
    done = run_tool("start.py", tmp_path / data.name, cwd=work_dir.parents[1])
    assert_plain(done.returncode, done.stderr, f"was made for {data}", "--work-dir")
    assert hashes(work_dir) == before


def test_weights_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", images=4)
    (tmp_path / "torn.pth").write_bytes(b"PK")
    for name, words in {"torn.pth": "not a whole checkpoint", "none.pth": "checkpoint not found"}.items():
        done = run_tool("start.py", tmp_path / "data", "--weights", tmp_path / name, cwd=tmp_path)
        assert_plain(done.returncode, done.stderr, words, name)
    assert not (tmp_path / "work_dirs").exists()


def test_every_number_of_logits_has_a_recommendation() -> None:
    for logits in (1.5, 200, 1e6):
        assert recommend(logits).loss in LOSSES
    assert [recommend(logits).loss for logits in (22, 188, 529, 1_027, 2_390)] == 3 * ["ghm"] + 2 * ["threshold"]
    assert RECOMMENDATIONS[0].logits_per_positive == 0
    assert sorted(RECOMMENDATIONS, key=lambda entry: entry.logits_per_positive) == list(RECOMMENDATIONS)


def test_rarer_positives_have_a_lower_learning_rate() -> None:
    expected = {1: 0.01, 299: 0.01, 300: 0.005, 1499: 0.005, 1500: 0.0017, 1e6: 0.0017}
    assert {logits: LOSSES["ghm"].lr_at(logits) for logits in expected} == expected
    for loss in LOSSES.values():
        assert loss.lr[0][0] == 0
        assert list(loss.lr) == sorted(loss.lr, key=lambda pair: (pair[0], -pair[1]))


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1.5, None, True], "b": {"c": 'a "quoted" \\ word', "d": "Größe\n"}},
        {"long": ["x" * 40] * 6, "inner": {"also": ["y" * 50] * 3}},
        [],
        {},
    ],
)
def test_python_text_reads_back(value: object) -> None:
    assert eval(as_python(value)) == value
