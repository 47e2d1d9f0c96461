"""tools/train.py on small real runs: outputs, resume after a kill, AMP on a CPU."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tools.fork_server import ForkedTool, forked_python
from tools.running import REPO, assert_plain, environment, run_tool

from ghm_mmdet.checkpoint import lock
from ghm_mmdet.checkpoint.lock import lock_work_dir
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


def fork_train(*arguments: object) -> ForkedTool:
    return ForkedTool(REPO / "tools" / "train.py", [*map(str, arguments)], Path.cwd(), environment())


def read_to(process: ForkedTool, pattern: str) -> str:
    """What is printed up to the line that has the pattern."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(pattern, line):
            return "".join(lines)
    pytest.fail("".join(lines))


def test_killed_in_an_epoch_and_resumed_it_ends_as_if_never_killed(shapes, tmp_path: Path) -> None:
    """Kill -9 in the second epoch; the first --resume continues after epoch 1, with the EMA and momentum it had."""
    run = tmp_path / "run"
    process = fork_train(shapes.config, "--work-dir", run, "--resume")
    output = read_to(process, r"Epoch\(train\) +\[2\]\[1/")
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert f"resume: no checkpoint to resume from in {run}, starting from scratch." in output
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


LONG = ("train_cfg.max_epochs=500", "default_hooks.checkpoint.max_keep_ckpts=1")


@pytest.mark.parametrize(("signum", "workers"), [(signal.SIGINT, 1), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_in_one_line_that_names_the_checkpoint(signum, workers, shapes, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [*LONG, f"train_dataloader.num_workers={workers}"]
    process = fork_train(shapes.config, "--work-dir", run, "--cfg-options", *options)
    read_to(process, "Saving checkpoint at 2 epochs")
    read_to(process, r"Epoch\(train\)")
    os.kill(process.pid, signum)
    output = process.wait()
    assert process.returncode == 128 + signum, output
    assert "Traceback" not in output
    last = output.strip().splitlines()[-1]
    checkpoint = re.fullmatch(rf"stopped by {signum.name}\. The newest checkpoint is (.*); go on with --resume\.", last)
    read_checkpoint(checkpoint[1])
    assert [path.name for path in run.glob("*.pth")] == [Path(checkpoint[1]).name]
    assert not list(run.glob(".*.part"))


def test_a_second_training_in_the_folder_does_not_start(shapes, tmp_path: Path, monkeypatch) -> None:
    """While the first goes on; when it has been killed, the folder is free at once, whatever its workers do."""
    run = tmp_path / "run"
    options = [*LONG, "train_dataloader.num_workers=1"]
    process = fork_train(shapes.config, "--work-dir", run, "--cfg-options", *options)
    try:
        read_to(process, "Saving checkpoint at 1 epochs")
        second = run_tool("train.py", shapes.config, "--work-dir", run, "--resume", "--cfg-options", *LONG)
        assert_plain(second.returncode, second.stderr, f"process {process.pid} on", str(run), "--work-dir PATH")
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    # Other tests of this process may hold folders of their own.
    monkeypatch.setattr(lock, "_held", [])
    lock_work_dir(str(run))
    (held,) = lock._held
    held.close()


# As on a disk that has room for logs and none for another checkpoint.
LIMIT_FILES = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_full_disk_costs_no_checkpoint(shapes, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(shapes.run / "epoch_1.pth", run)
    assert os.path.getsize(run / "epoch_1.pth") > 150_000
    options = ["--cfg-options", "default_hooks.checkpoint.max_keep_ckpts=1"]
    arguments = [shapes.config, "--work-dir", run, "--resume", *options]
    command = [forked_python(), "-c", LIMIT_FILES, REPO / "tools" / "train.py", *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment())
    assert_plain(done.returncode, done.stderr, f"cannot write the checkpoint {run / 'epoch_2.pth'}", "--resume")
    assert [path.name for path in run.glob("*.pth*")] == ["epoch_1.pth"]
    assert not list(run.glob(".*.part"))
    # What kills leave, and an earlier version did.
    (run / ".epoch_2.pth.part").write_bytes(b"half")
    done = run_tool("train.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in run.glob("*.pth*")) == ["epoch_1.pth", "epoch_2.pth"]
    assert not list(run.glob(".*.part"))


IN_A_SMALL_DISK = """
mount -t tmpfs -o size="$1" tmpfs "$2" && cp "$3" "$2"
shift 3
"$@" 2> error; echo $? > code
ls -A run | grep pth > full
mount -o remount,size=64m run && "$@" > again 2>&1; echo $? >> code
ls -A run | grep pth > after
"""
UNSHARE = ["unshare", "--map-root-user", "--mount"]


@pytest.mark.skipif(subprocess.run([*UNSHARE, "true"], check=False).returncode != 0, reason="cannot mount here")
def test_a_disk_that_is_full(shapes, tmp_path: Path) -> None:
    """A file system of a size that has room for one checkpoint and a half, then for all."""
    first = shapes.run / "epoch_1.pth"
    (tmp_path / "run").mkdir()
    train = [sys.executable, REPO / "tools" / "train.py", shapes.config, "--work-dir", "run", "--resume"]
    options = ["--cfg-options", "default_hooks.checkpoint.max_keep_ckpts=2"]
    script = ["bash", "-c", IN_A_SMALL_DISK, "bash", f"{os.path.getsize(first) * 3 // 2048}k", "run", first]
    subprocess.run([*UNSHARE, *map(str, [*script, *train, *options])], cwd=tmp_path, env=environment(), check=True)
    first_code, second_code = (tmp_path / "code").read_text().split()
    assert_plain(int(first_code), (tmp_path / "error").read_text(), "epoch_2.pth", "--resume")
    assert (tmp_path / "full").read_text().split() == ["epoch_1.pth"]
    assert second_code == "0", (tmp_path / "again").read_text()
    assert (tmp_path / "after").read_text().split() == ["epoch_1.pth", "epoch_2.pth"]


def test_a_batch_larger_than_the_data_does_not_start(shapes, tmp_path: Path) -> None:
    options = ["train_dataloader.batch_size=9", "train_dataloader.drop_last=True"]
    options += ["train_dataloader.batch_sampler=None"]
    done = run_tool("train.py", shapes.config, "--work-dir", tmp_path / "run", "--cfg-options", *options)
    assert_plain(done.returncode, done.stderr, "no batch of training data", "8 images, batch_size=9", "drop_last=False")
    assert not list((tmp_path / "run").glob("*.pth"))


def test_a_locale_that_is_not_utf8(shapes, tmp_path: Path) -> None:
    config = tmp_path / "\u732b.py"
    config.write_text(f'_base_ = "{shapes.config}"\nnames = ("\u732b", "\u00e9")\n', encoding="utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = run_tool("train.py", config, "--work-dir", tmp_path / "run", **ascii_only)
    assert done.returncode == 0, done.stderr
    assert "\u732b" in (tmp_path / "run" / config.name).read_text(encoding="utf-8")
