"""tools/demo.py from end to end, on a few of its scenes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from tools.running import REPO, assert_plain, environment, run_tool

from ghm_mmdet.digits.folder import MANIFEST, DigitsFolder
from ghm_mmdet.digits.scenes import SceneOptions

pytestmark = pytest.mark.slow

FEW = (
    "--cfg-options",
    "train_dataloader.dataset.indices=32",
    "val_dataloader.dataset.indices=8",
    "test_dataloader.dataset.indices=12",
    "train_cfg.max_epochs=2",
    "default_hooks.logger.interval=1",
    # Detections from a detector that has hardly begun to learn.
    "model.test_cfg.score_thr=0.0",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo would make, with a few of its scenes."""
    folder = tmp_path_factory.mktemp("demo") / "digits"
    DigitsFolder(folder, "coco", {"train": 32, "val": 8, "test": 12}, SceneOptions()).make(1, lambda split: None)
    wanted = DigitsFolder(folder, "coco", {"train": 1000, "val": 100, "test": 200}, SceneOptions()).manifest
    made = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**made, **wanted}))
    return folder


def run_demo(data: Path, work_dir: Path, *arguments: str) -> subprocess.CompletedProcess:
    return run_tool("demo.py", "--data", data, "--work-dir", work_dir, *arguments, COLUMNS="200")


@pytest.fixture(scope="module")
def first(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    work_dir = tmp_path_factory.mktemp("demo") / "run"
    done = run_demo(data, work_dir, *FEW)
    assert done.returncode == 0, done.stderr
    return work_dir, done.stdout


def test_it_says_what_it_does_and_ends_with_the_metrics_of_the_test(data: Path, first: tuple[Path, str]) -> None:
    work_dir, output = first
    assert f"{data} was already made" in output
    assert re.findall(r"epoch (\d)/2, iteration (\d), loss \d+\.\d+\n", output) == [
        (str((iteration + 3) // 4), str(iteration)) for iteration in range(1, 9)
    ]
    assert [line[:5] for line in output.splitlines() if line.startswith("[")] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    (written,) = work_dir.glob("*/*.json")
    metrics = json.loads(written.read_text())
    shown = [f"{metrics[f'coco/bbox_{name}']:.3f}" for name in ("mAP", "mAP_50", "mAP_75")]
    row = re.search(r"│ +" + r" +│ +".join(map(re.escape, shown)) + r" +│ +\d+ s │ +\d+ s │ +\d+ s │ +\d+ s │", output)
    assert row, output
    picture = cv2.imread(str(work_dir / "detections.png"))
    assert picture is not None and min(picture.shape[:2]) > 1000 and picture.std() > 20


def test_a_second_run_uses_what_is_there(data: Path, first: tuple[Path, str]) -> None:
    work_dir = first[0]
    checkpoint = work_dir / "epoch_2.pth"
    before = checkpoint.stat().st_mtime_ns
    done = run_demo(data, work_dir, *FEW)
    assert done.returncode == 0, done.stderr
    assert f"training is done already: {checkpoint} (--fresh trains anew)" in done.stdout
    assert "done before" in done.stdout
    assert checkpoint.stat().st_mtime_ns == before


def test_interrupted_it_goes_on_and_fresh_keeps_the_old_run(data: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / "run"
    command = [sys.executable, str(REPO / "tools/demo.py"), "--data", str(data), "--work-dir", str(work_dir), *FEW]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    for line in process.stdout:
        if "epoch 2/2" in line:
            os.killpg(process.pid, signal.SIGINT)
            break
    _, error = process.communicate()
    assert process.returncode == 130
    assert "goes on from the last checkpoint" in error and "Traceback" not in error
    assert [path.name for path in work_dir.glob("epoch_*.pth")] == ["epoch_1.pth"]

    done = run_demo(data, work_dir, *FEW)
    assert done.returncode == 0, done.stderr
    assert f"going on with the training for 2 epochs: {work_dir}" in done.stdout
    assert re.findall(r"epoch (\d)/2, iteration (\d)", done.stdout) == [("2", number) for number in "5678"]

    done = run_demo(data, work_dir, "--fresh", *FEW, "optim_wrapper.optimizer.lr=no_number")
    assert_plain(done.returncode, done.stderr, "train failed:")
    assert f"{work_dir} was moved to {work_dir}.1: --fresh" in done.stdout
    assert (tmp_path / "run.1" / "epoch_2.pth").is_file()
    assert not list(work_dir.glob("epoch_*.pth"))


def test_data_of_someone_else_ends_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("the only copy")
    done = run_demo(tmp_path / "data", tmp_path / "run")
    assert_plain(done.returncode, done.stderr, "holds something else than digits")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
