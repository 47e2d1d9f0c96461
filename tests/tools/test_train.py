"""tools/train.py on small real runs: outputs, resume after a kill, AMP on a CPU."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tools.running import REPO, environment, run_tool

from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints, read_checkpoint


@pytest.fixture(autouse=True)
def allowed() -> None:
    allow_mmengine_checkpoints()


def iterations(output: str) -> list[str]:
    return re.findall(r"Epoch\(train\) +\[(\d+\]\[\d+)/\d+\]", output)


def test_a_run_leaves_what_mmdet_users_expect(shapes) -> None:
    output = (shapes.run / "stdout.txt").read_text()
    assert iterations(output) == [f"{epoch}][{step}" for epoch in (1, 2) for step in (1, 2, 3, 4)]
    assert "loss_cls:" in output and "loss_bbox:" in output
    names = {path.name for path in shapes.run.iterdir()}
    assert {"epoch_1.pth", "epoch_2.pth", "last_checkpoint", "shapes_retinanet.py"} <= names
    assert not [name for name in names if name.endswith(".part")]
    dumped = (shapes.run / "shapes_retinanet.py").read_text()
    assert "ghm_mmdet.GHMC" in dumped
    assert "atomic" not in dumped
    warning = re.findall(r"WARNING - The total batch is .*", output)
    assert warning == [
        "WARNING - The total batch is 2 (2 per rank, 1 ranks), the learning rate was chosen for "
        "auto_scale_lr.base_batch_size=16. --auto-scale-lr scales it: lr would be 0.00125 in place of 0.01."
    ]


def test_killed_in_an_epoch_and_resumed_it_ends_as_if_never_killed(shapes, tmp_path: Path) -> None:
    """Kill -9 in the second epoch; the first --resume continues after epoch 1, with the EMA and momentum it had."""
    run = tmp_path / "run"
    command = [sys.executable, str(REPO / "tools/train.py"), str(shapes.config), "--work-dir", str(run), "--resume"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    for line in process.stdout:
        if "Epoch(train) [2][1/" in line.replace("  ", " "):
            process.send_signal(signal.SIGKILL)
            break
    _, error = process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert f"resume: no checkpoint to resume from in {run}, starting from scratch." in error
    assert not (run / "epoch_2.pth").exists(), "the process went on to the end of the epoch before the kill arrived"

    # What a kill during mmengine's own, not atomic, writing leaves behind.
    whole = (run / "epoch_1.pth").read_bytes()
    (run / "epoch_2.pth").write_bytes(whole[: len(whole) // 3])
    (run / "last_checkpoint").write_text(str(run / "epoch_2.pth"))
    ema = read_checkpoint(str(run / "epoch_1.pth"))["state_dict"]["bbox_head.loss_cls.acc_sum"]
    assert ema.sum() > 0

    done = run_tool("train.py", shapes.config, "--work-dir", run, "--resume")
    assert done.returncode == 0, done.stderr
    assert f"resume: from {run / 'epoch_1.pth'} (newest whole checkpoint; not whole: epoch_2.pth)." in done.stderr
    assert "resumed epoch: 1, iter: 4" in done.stdout
    assert iterations(done.stdout) == [f"2][{step}" for step in (1, 2, 3, 4)]

    resumed = read_checkpoint(str(run / "epoch_2.pth"))["state_dict"]
    undisturbed = read_checkpoint(str(shapes.checkpoint))["state_dict"]
    different = [name for name, value in undisturbed.items() if not torch.equal(resumed[name], value)]
    assert different == []


@pytest.fixture
def runs(tmp_path: Path, shapes):
    """A work_dir with copies of a whole checkpoint under given names, oldest first; None makes a torn one."""

    def make(**files: bool) -> Path:
        whole = shapes.checkpoint.read_bytes()
        for age, (name, is_whole) in enumerate(files.items()):
            path = tmp_path / f"{name}.pth"
            path.write_bytes(whole if is_whole else whole[: len(whole) // 2])
            os.utime(path, ns=(age * 10**9, age * 10**9))
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("files", "note", "chosen"),
    [
        ({"epoch_1": True, "epoch_2": True}, "epoch_2", "epoch_2"),
        ({"epoch_1": True, "epoch_2": False}, "epoch_2", "epoch_1"),
        ({"epoch_1": True, "epoch_2": True}, "epoch_1", "epoch_2"),  # killed before the note was written
        ({"epoch_1": True, "epoch_2": True}, "", "epoch_2"),  # killed while the note was written
        ({"epoch_1": True, "epoch_2": True}, None, "epoch_2"),
        ({"epoch_12": True, "epoch_2": True, "epoch_3": True}, "epoch_3", "epoch_3"),  # epoch_12: an earlier run's
        ({"epoch_12": True, "epoch_2": True, "epoch_3": False}, "epoch_3", "epoch_2"),
        ({"epoch_10": True, "epoch_9": True}, "epoch_10", "epoch_10"),  # copied in the order of names
        ({"iter_500": True, "best_coco_bbox_mAP_epoch_9": True, "other": True}, None, "iter_500"),
        ({"epoch_1": False}, "epoch_1", None),
        ({}, None, None),
    ],
)
def test_which_checkpoint_is_resumed(
    runs, files: dict, note: str | None, chosen: str | None, capsys: pytest.CaptureFixture
) -> None:
    from mmengine.config import Config

    from ghm_mmdet.checkpoint.resuming import newest_whole_checkpoint

    work_dir = runs(**files)
    if note is not None:
        (work_dir / "last_checkpoint").write_text(f"/moved/since/{note}.pth" if note else "")
    found = newest_whole_checkpoint(Config({"work_dir": str(work_dir)}))
    said = capsys.readouterr().err
    assert (found and found[0]) == (chosen and str(work_dir / f"{chosen}.pth"))
    assert said.count("\n") == 1
    assert (chosen or "starting from scratch") in said


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    """The process dies when all bytes are written but the file is not in its place yet."""
    code = (
        "import os, pathlib, signal, sys\n"
        "from ghm_mmdet.checkpoint.resuming import AtomicLocalBackend\n"
        "backend, path = AtomicLocalBackend(), sys.argv[1]\n"
        "backend.put(b'old', path)\n"
        "pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "backend.put(b'new', path)\n"
    )
    path = tmp_path / "folder" / "epoch_1.pth"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=environment())
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == b"old"
    assert [file.name for file in path.parent.glob("*.pth")] == ["epoch_1.pth"]


def test_amp_runs_on_a_cpu_with_one_kept_checkpoint(shapes, tmp_path: Path) -> None:
    options = ["train_cfg.max_epochs=1", "default_hooks.checkpoint.max_keep_ckpts=1"]
    done = run_tool("train.py", shapes.config, "--amp", "--auto-scale-lr", "--cfg-options", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "amp: no GPU here" in done.stderr
    run = tmp_path / "work_dirs" / "shapes_retinanet"
    assert all(value.isfinite().all() for value in read_checkpoint(str(run / "epoch_1.pth"))["state_dict"].values())
    assert "imports=['ghm_mmdet.cli.amp'" in "".join((run / "shapes_retinanet.py").read_text().split())
    assert "Scaling the original LR by 0.125" in done.stdout
    assert "The total batch is" not in done.stdout
    undisturbed = re.search(r"\[1\]\[1/4\].*loss: ([\d.]+)", (shapes.run / "stdout.txt").read_text())[1]
    mixed = re.search(r"\[1\]\[1/4\].*loss: ([\d.]+)", done.stdout)[1]
    assert float(mixed) == pytest.approx(float(undisturbed), rel=0.05)
    assert mixed != undisturbed
