"""The shell scripts: two real ranks without a GPU, and what they hand to srun."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tools.running import REPO, assert_plain, environment

from ghm_mmdet.engine.checkpoint import allow_mmengine_checkpoints, read_checkpoint

TOOLS = REPO / "tools"


def run_script(script: str, *arguments: object, cwd: Path, **changes: str) -> subprocess.CompletedProcess:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = f"{changes.pop('PATH', '')}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = environment(PORT=port, PATH=path.lstrip(os.pathsep), **changes)
    command = [str(TOOLS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=300)


@pytest.mark.slow
def test_two_ranks_train_and_test_on_gloo(shapes, tmp_path: Path) -> None:
    """From another folder, into a work_dir with a space in its name."""
    run = tmp_path / "a run"
    options = ["--cfg-options", "train_cfg.max_epochs=1"]
    done = run_script("dist_train.sh", shapes.config, 2, "--work-dir", run, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "GPU number: 2" in done.stdout
    # Eight images, two per rank and step: the two ranks share the epoch.
    assert re.findall(r"Epoch\(train\) +\[1\]\[(\d)/2\]", done.stdout) == ["1", "2"]
    assert done.stdout.count("The total batch is 4 (2 per rank, 2 ranks)") == 1
    allow_mmengine_checkpoints()
    weights = read_checkpoint(str(run / "epoch_1.pth"))["state_dict"]
    assert not any(name.startswith("module.") for name in weights)
    assert torch.stack([value.float().sum() for value in weights.values()]).isfinite().all()

    done = run_script("dist_test.sh", shapes.config, run / "epoch_1.pth", 2, "--work-dir", tmp_path / "t", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("coco/bbox_mAP: ") == 1
    assert "Epoch(test) [4/4]" in done.stdout


def test_a_failing_preflight_stops_all_ranks_with_one_plain_error(shapes, tmp_path: Path) -> None:
    options = ["--work-dir", tmp_path / "run", "--cfg-options", "train_dataloader.dataset.ann_file=gone.json"]
    done = run_script("dist_train.sh", shapes.config, 2, *options, cwd=tmp_path)
    assert_plain(done.returncode, done.stderr, "annotation file not found", "gone.json")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("dist_train.sh", ["config.py"]),
        ("dist_test.sh", ["config.py", "a.pth"]),
        ("slurm_train.sh", ["partition", "job", "config.py"]),
        ("slurm_test.sh", ["partition", "job", "config.py"]),
    ],
)
def test_missing_arguments_print_the_usage(script: str, arguments: list[str], tmp_path: Path) -> None:
    done = run_script(script, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert done.stdout == ""


@pytest.mark.parametrize("script", ["slurm_train.sh", "slurm_test.sh"])
@pytest.mark.parametrize("per_node", ["4", "0"])
def test_what_srun_is_given(script: str, per_node: str, tmp_path: Path) -> None:
    """A stand-in for srun prints its arguments, one per line."""
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    changes = {"GPUS": "8", "GPUS_PER_NODE": per_node, "CPUS_PER_TASK": "3", "SRUN_ARGS": "--qos=fast --exclusive"}
    tail = ["--cfg-options", "note=two words"]
    done = run_script(script, "part", "job", "c.py", "a b", *tail, cwd=tmp_path, PATH=str(tmp_path), **changes)
    assert done.returncode == 0, done.stderr
    given = done.stdout.splitlines()
    expected = {"--partition=part", "--job-name=job", "--ntasks=8", "--cpus-per-task=3", "--qos=fast", "--exclusive"}
    assert expected <= set(given)
    assert ("--gres=gpu:4" in given) == (per_node == "4")
    assert not [argument for argument in given if argument == "--gres=gpu:0"]
    end = ["c.py", "--work-dir", "a b"] if script == "slurm_train.sh" else ["c.py", "a b"]
    assert given[-5 - len(end) + 1 :] == [*end, "--launcher", "slurm", *tail][-5 - len(end) + 1 :]


def test_slurm_ranks_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from ghm_mmdet.engine.errors import UserError
    from ghm_mmdet.engine.launch import read_ranks

    for name, value in {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "MASTER_ADDR": "head"}.items():
        monkeypatch.setenv(name, value)
    read_ranks("slurm", 0)
    assert [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")] == ["3", "4", "1", "head"]
    monkeypatch.delenv("MASTER_ADDR")
    monkeypatch.setenv("SLURM_NODELIST", "n[1-2]")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="MASTER_ADDR"):
        read_ranks("slurm", 0)
