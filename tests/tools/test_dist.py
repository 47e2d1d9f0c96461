"""The shell scripts: two ranks without a GPU, and what they hand to srun.

Their Python is forked from a server that has mmdet already.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from tools.fork_server import forked_python
from tools.running import REPO, assert_plain, environment

from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints, read_checkpoint

TOOLS = REPO / "tools"


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run_script(
    script: str, *arguments: object, cwd: Path, fork: bool = True, **changes: str
) -> subprocess.CompletedProcess:
    port = changes.pop("PORT", None) or free_port()
    python = forked_python() if fork else Path(sys.executable)
    path = f"{changes.pop('PATH', '')}{os.pathsep}{python.parent}{os.pathsep}{os.environ['PATH']}"
    env = environment(PORT=port, PATH=path.lstrip(os.pathsep), **changes)
    command = [str(TOOLS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=300)


# Notes the moving averages of each rank, when the training begins and when it ends.
WATCH = """
import os
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class WatchHook(Hook):
    def note(self, runner, when):
        losses = runner.model.module.bbox_head.loss_cls, runner.model.module.bbox_head.loss_bbox
        averages = torch.cat([loss.acc_sum for loss in losses])
        torch.save(averages, os.path.join(runner.work_dir, f"{when}_{runner.rank}.pt"))

    def before_train(self, runner):
        self.note(runner, "begin")

    def after_train(self, runner):
        self.note(runner, "end")
"""


def averages(run: Path, when: str) -> list[torch.Tensor]:
    return [torch.load(run / f"{when}_{rank}.pt") for rank in range(2)]


def log_of(run: Path) -> str:
    return "".join(path.read_text() for path in run.glob("*/*.log"))


@pytest.mark.slow
def test_two_ranks_train_resume_and_test_on_gloo(shapes, tmp_path: Path) -> None:
    """From another folder, into a work_dir with a space in its name.

    Without sync each rank has moving averages of its own, and the first rank's are in the checkpoint: all ranks go on
    from those.
    """
    (tmp_path / "watch_moving_averages.py").write_text(WATCH)
    run = tmp_path / "a run"
    config = tmp_path / "watched.py"
    config.write_text(
        f'_base_ = "{shapes.config}"\ncustom_imports = dict(imports="watch_moving_averages")\n'
        'custom_hooks = [dict(type="WatchHook")]\n'
    )
    arguments = [config, 2, "--work-dir", run]
    changes = {"cwd": tmp_path, "PYTHONPATH": str(tmp_path)}
    done = run_script("dist_train.sh", *arguments, "--cfg-options", "train_cfg.max_epochs=1", **changes)
    assert done.returncode == 0, done.stderr
    assert "GPU number: 2" in log_of(run)
    # Eight images, two per rank and step: the two ranks share the epoch.
    assert re.findall(r"Epoch\(train\) +\[1\]\[(\d)/2\]", done.stdout) == ["1", "2"]
    assert done.stdout.count("The total batch is 4 (2 per rank, 2 ranks)") == 1
    allow_mmengine_checkpoints()
    weights = read_checkpoint(str(run / "epoch_1.pth"))["state_dict"]
    assert not any(name.startswith("module.") for name in weights)
    assert torch.stack([value.float().sum() for value in weights.values()]).isfinite().all()
    saved = torch.cat([weights[f"bbox_head.loss_{name}.acc_sum"] for name in ("cls", "bbox")])
    first, second = averages(run, "end")
    assert torch.equal(saved, first) and not torch.equal(first, second)

    synced = [f"model.bbox_head.loss_{name}.sync=True" for name in ("cls", "bbox")]
    done = run_script("dist_train.sh", *arguments, "--resume", "--cfg-options", *synced, **changes)
    assert done.returncode == 0, done.stderr
    assert f"resume: from {run / 'epoch_1.pth'}" in done.stderr
    assert all(torch.equal(average, saved) for average in averages(run, "begin"))
    first, second = averages(run, "end")
    assert torch.equal(first, second) and not torch.equal(first, saved)

    tested = [shapes.config, run / "epoch_2.pth", 2, "--work-dir", tmp_path / "t"]
    done = run_script("dist_test.sh", *tested, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("coco/bbox_mAP: ") == 1
    assert "Epoch(test) [4/4]" in done.stdout


@pytest.mark.slow
def test_two_machines(shapes, tmp_path: Path) -> None:
    """Two launches that find each other by NNODES, NODE_RANK, MASTER_ADDR and PORT, one rank each."""
    changes = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "PORT": free_port()}
    arguments = [shapes.config, 1, "--work-dir", tmp_path / "run", "--cfg-options", "train_cfg.max_epochs=1"]
    with ThreadPoolExecutor(2) as pool:
        launches = [
            pool.submit(run_script, "dist_train.sh", *arguments, cwd=tmp_path, NODE_RANK=str(node), **changes)
            for node in range(2)
        ]
        first, second = (launch.result() for launch in launches)
    for launch in (first, second):
        assert launch.returncode == 0, launch.stderr
    assert "GPU number: 2" in log_of(tmp_path / "run")
    assert re.findall(r"Epoch\(train\) +\[1\]\[(\d)/2\]", first.stdout) == ["1", "2"]
    assert (tmp_path / "run" / "epoch_1.pth").is_file()


@pytest.mark.slow
def test_two_machines_with_other_data(shapes, tmp_path: Path) -> None:
    """The one with more images would wait for the other at the end of the epoch."""
    shutil.copytree(shapes.data, tmp_path / "data")
    file = tmp_path / "data" / "annotations.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"images": content["images"][:-2]}))
    changes = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "PORT": free_port()}
    arguments = [shapes.config, 1, "--work-dir", tmp_path / "run"]
    with ThreadPoolExecutor(2) as pool:
        launches = [
            pool.submit(run_script, "dist_train.sh", *arguments, cwd=tmp_path, NODE_RANK=node, **changes, **where)
            for node, where in (("0", {}), ("1", {"SHAPES_ROOT": f"{tmp_path}/data/"}))
        ]
        for done in [launch.result() for launch in launches]:
            expected = "train_dataloader.dataset holds 6 images with 18 objects for rank 1, 8 images with 24 objects"
            assert done.returncode == 2 and expected in done.stderr and "Traceback" not in done.stderr, done.stderr


SIGKILLED = (
    "error: rank 1 was ended by SIGKILL, as the kernel does when memory runs out.\n"
    "Go on from the newest checkpoint with --resume."
)
# Does what it is told in the third iteration of a rank.
FAIL = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from ghm_mmdet.errors import UserError

@HOOKS.register_module()
class FailHook(Hook):
    def __init__(self, rank, what):
        self.rank, self.what = rank, what

    def after_train_iter(self, runner, **_):
        if runner.iter == 2 and runner.rank == self.rank:
            exec(self.what)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "what", "code", "expected"),
    [
        (1, "raise UserError('no such thing\\\\nTake another.')", 2, "error: no such thing\nTake another."),
        (0, "raise UserError('no such thing')", 2, "error: no such thing"),
        (1, "os.kill(os.getpid(), signal.SIGKILL)", 2, SIGKILLED),
        (1, "1 / 0", 1, "error: a rank has failed; its traceback is above"),
        (1, "os.kill(int(os.environ['STARTED_BY']), signal.SIGTERM)", 143, "stopped by SIGTERM. The newest "),
    ],
)
def test_a_rank_that_fails_has_the_last_word(rank, what, code, expected, shapes, tmp_path: Path) -> None:
    (tmp_path / "failing_rank.py").write_text(FAIL)
    config = tmp_path / "failing.py"
    config.write_text(
        f'_base_ = "{shapes.config}"\ncustom_imports = dict(imports="failing_rank")\n'
        f'custom_hooks = [dict(type="FailHook", rank={rank}, what="{what}")]\n'
        "train_cfg = dict(max_epochs=200)\n"
    )
    changes = {"cwd": tmp_path, "PYTHONPATH": str(tmp_path)}
    done = run_script("dist_train.sh", config, 2, "--work-dir", tmp_path / "run", **changes)
    assert done.returncode == code, done.stderr
    last = "\n".join(done.stderr.strip().splitlines()[-1 - expected.count("\n") :])
    assert last.startswith(expected), done.stderr
    assert done.stderr.count("error: ") == (code != 143)
    assert done.stderr.count("Traceback") == (code == 1), done.stderr


def test_a_port_in_use(shapes, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_script("dist_train.sh", shapes.config, 2, cwd=tmp_path, fork=False, PORT=port)
    assert_plain(done.returncode, done.stderr, f"the port {port} is in use", "PORT=")


# Starts its command once for each task, as srun does; scontrol names the first machine of the job.
SRUN = """#!/bin/bash
while [ "${1:0:2}" = -- ]; do
    case $1 in --ntasks=*) n=${1#--ntasks=};; esac
    shift
done
for ((i = 0; i < n; i++)); do
    SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_NTASKS=$n SLURM_NODELIST=machine "$@" &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || exit $?; done
"""


@pytest.mark.slow
def test_slurm_trains(shapes, tmp_path: Path) -> None:
    for name, text in (("srun", SRUN), ("scontrol", "#!/bin/sh\necho 127.0.0.1\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    changes = {"PATH": str(tmp_path), "GPUS": "2", "GPUS_PER_NODE": "0", "MASTER_PORT": free_port()}
    options = ["--cfg-options", "train_cfg.max_epochs=1"]
    arguments = ["partition", "job", shapes.config, tmp_path / "run", *options]
    done = run_script("slurm_train.sh", *arguments, cwd=tmp_path, **changes)
    assert done.returncode == 0, done.stderr
    assert "GPU number: 2" in log_of(tmp_path / "run")
    assert re.findall(r"Epoch\(train\) +\[1\]\[(\d)/2\]", done.stdout) == ["1", "2"]
    assert (tmp_path / "run" / "epoch_1.pth").is_file()


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
    from ghm_mmdet.cli.launch import read_ranks
    from ghm_mmdet.errors import UserError

    for name, value in {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "MASTER_ADDR": "head"}.items():
        monkeypatch.setenv(name, value)
    read_ranks("slurm", 0)
    assert [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")] == ["3", "4", "1", "head"]
    monkeypatch.delenv("MASTER_ADDR")
    monkeypatch.setenv("SLURM_NODELIST", "n[1-2]")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="MASTER_ADDR"):
        read_ranks("slurm", 0)
