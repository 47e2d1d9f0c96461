"""A training that is killed ten times, also while it writes a checkpoint, and ends as the one that never was."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from tools.fork_server import ForkedTool
from tools.running import REPO, environment, run_tool

from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints, read_checkpoint

EPOCHS = 30
# Two iterations an epoch, each with random flips, and a checkpoint after each epoch.
CHANGES = f"""
train_pipeline = [*_base_.pipeline[:-1], dict(type="RandomFlip", prob=0.5), _base_.pipeline[-1]]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs={EPOCHS}, val_interval=7)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))
"""


@pytest.fixture(scope="module")
def config(shapes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kills") / "often_saved.py"
    path.write_text(f'_base_ = "{shapes.config}"\n{CHANGES}')
    return path


def start(config: Path, run: Path) -> ForkedTool:
    words = [str(config), "--work-dir", str(run), "--resume"]
    return ForkedTool(REPO / "tools" / "train.py", words, Path.cwd(), environment())


def kill_at_a_random_moment(process: ForkedTool, run: Path, moment: random.Random) -> None:
    """From the start of the run to a few iterations later, wherever the process then is."""
    for _ in range(moment.randrange(4)):
        next((line for line in process.stdout if "Epoch(train)" in line), None)
    time.sleep(moment.uniform(0, 0.3))


def kill_while_writing(process: ForkedTool, run: Path, moment: random.Random) -> None:
    """As soon as a file is there that will become a checkpoint."""
    # The first one may take the place of a file that an earlier kill left half-written.
    for _ in range(2):
        next(line for line in process.stdout if "Saving checkpoint at" in line)
    while process.poll() is None and not list(run.glob(".*.part")):
        pass


def losses(run: Path) -> dict[int, list[tuple]]:
    """By iteration, what each process has logged of it, in all the digits that mmengine writes."""
    logged: dict[int, list[tuple]] = {}
    for file in sorted(run.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            # The line that the process was killed at may be cut.
            if line.endswith("}") and "loss_cls" in line:
                entry = json.loads(line)
                names = ("loss", "loss_cls", "loss_bbox", "grad_norm", "lr")
                logged.setdefault(entry["step"], []).append(tuple(entry[name] for name in names))
    return logged


@pytest.mark.slow
def test_killed_ten_times_it_ends_as_if_never_killed(config: Path, tmp_path: Path) -> None:
    """Weights, moving averages, momentum of the optimizer and every logged loss are equal to the last bit."""
    undisturbed = run_tool("train.py", config, "--work-dir", tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr

    run = tmp_path / "run"
    moment = random.Random(0)
    writing = 0
    for number in range(10):
        process = start(config, run)
        kill = kill_while_writing if number % 3 == 1 else kill_at_a_random_moment
        kill(process, run, moment)
        process.kill()
        process.wait()
        assert process.returncode == -signal.SIGKILL, "the training was over before it was killed"
        if kill is kill_while_writing:
            writing += bool(list(run.glob(".*.part")))
    assert writing, "no kill came while a checkpoint was being written"
    process = start(config, run)
    output = process.wait()
    assert process.returncode == 0, output
    assert not list(run.glob(".*.part"))
    assert re.search(r"resume: from .*epoch_\d+\.pth \(newest checkpoint\)", output), output

    allow_mmengine_checkpoints()
    resumed, expected = (
        read_checkpoint(str(folder / f"epoch_{EPOCHS}.pth")) for folder in (run, tmp_path / "undisturbed")
    )
    assert "bbox_head.loss_cls.acc_sum" in expected["state_dict"]
    assert resumed["state_dict"].keys() == expected["state_dict"].keys()
    different = [name for name, value in expected["state_dict"].items() if not resumed["state_dict"][name].equal(value)]
    assert different == []
    momenta = [[state["momentum_buffer"] for state in c["optimizer"]["state"].values()] for c in (resumed, expected)]
    assert momenta[0] and all(torch.equal(*pair) for pair in zip(*momenta, strict=True))

    logged, once = losses(run), losses(tmp_path / "undisturbed")
    assert sorted(once) == list(range(1, 2 * EPOCHS + 1)) and logged.keys() == once.keys()
    assert all(set(entries) == set(once[step]) for step, entries in logged.items())
    # Some iterations were run by several processes, the killed ones among them.
    assert max(map(len, logged.values())) > 1
