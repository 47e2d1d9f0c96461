"""One run of a study, in a process of its own, and the row that comes of it."""

from __future__ import annotations

import copy
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ghm_mmdet.cli.subcommand import KEEP_MEMORY
from ghm_mmdet.config import evaluators_of
from ghm_mmdet.errors import UserError
from ghm_mmdet.experiments.study.average_precision import average_precision
from ghm_mmdet.experiments.study.grid import Run
from ghm_mmdet.experiments.study.scenes import MadeScenes, moved
from ghm_mmdet.json_lines import read_json_lines

POINTS = 40  # of a loss curve


def train(run: Run, folder: Path, threads: int, lock: int, scenes: MadeScenes | None = None) -> dict:
    """Trains from the start, evaluates at the end, and leaves the logs in the folder.

    Args:
        run: what to train.
        folder: is emptied first.
        threads: CPU threads of the training, of all its ranks together.
        lock: a file descriptor that the training's process inherits.
        scenes: the run's data, where it is not that of its config.

    Returns:
        The row. A run whose loss became infinite or NaN has ``error``, what FiniteLossHook said, in place of ``ap``.

    Raises:
        UserError: the training failed for another reason, which says nothing about the method.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = copy.deepcopy(run.config) if scenes is None else moved(run.config, scenes.path)
    evaluator = _coco_metric(config)
    evaluator.outfile_prefix = str(folder / "detections")
    config.dump(folder / "study_run.py")
    ranks = config.get("ranks", 1)
    command = ["-m", "ghm_mmdet", "train", str(folder / "study_run.py"), "--work-dir", str(folder)]
    if ranks > 1:
        launcher = ["-m", "ghm_mmdet.cli.torchrun", "--standalone", f"--nproc-per-node={ranks}"]
        command = [*launcher, *command, "--launcher", "pytorch"]
        threads = max(1, threads // ranks)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    environment.setdefault("GLIBC_TUNABLES", KEEP_MEMORY)
    start = time.monotonic()
    with open(folder / "output.txt", "w", encoding="utf-8") as output:
        done = subprocess.run(
            [sys.executable, *command], stdout=output, stderr=subprocess.STDOUT, env=environment, pass_fds=[lock]
        )
    row = {
        "study": run.study,
        "method": run.method,
        "noise": run.noise,
        "seed": run.seed,
        "setting": None if run.setting is None else vars(run.setting),
        "config_hash": run.config_hash,
        "versions": {name: version(name) for name in ("torch", "mmdet", "mmengine", "mmcv")},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads",
        "seconds": round(time.monotonic() - start, 1),
        **({} if scenes is None else {"scenes": run.scenes, "imbalance": scenes.imbalance}),
        **_loss_curve(folder),
    }
    detections = folder / "detections.bbox.json"
    if done.returncode != 0:
        row["error"] = _reason(folder / "output.txt", run, done.returncode)
    elif not detections.is_file():
        # mmdet writes no file where nothing was detected.
        row["error"] = "nothing was detected"
    else:
        truth = folder / "detections.gt.json"
        row["ap"] = average_precision(truth if truth.is_file() else Path(evaluator.ann_file), detections)
    for checkpoint in folder.glob("*.pth"):
        checkpoint.unlink()
    return row


def _coco_metric(config: Config) -> ConfigDict:
    for _, evaluator in evaluators_of(config, "val"):
        if str(evaluator.get("type")).rpartition(".")[2] == "CocoMetric":
            return evaluator
    raise UserError(
        f"a study measures with CocoMetric, and val_evaluator has none: {config.filename}\n"
        "Add dict(type='CocoMetric', metric='bbox') to it."
    )


def _reason(output: Path, run: Run, returncode: int) -> str:
    lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it wrote nothing"]
    if returncode < 0:
        name = signal.Signals(-returncode).name
        lines.append(f"it was ended by {name}" + ", as the kernel does when memory runs out" * (name == "SIGKILL"))
    reason = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1]).removeprefix("error: ")
    if not re.search(r" is (nan|-?inf) at iteration ", reason):
        raise UserError(f"{run.name} failed: {reason}\nIts whole output is in {output.absolute()}")
    return reason


def _loss_curve(folder: Path) -> dict:
    """The logged losses, at most ``POINTS`` of them, evenly spaced."""
    scalars = sorted(folder.glob("*/vis_data/scalars.json"))
    losses = []
    for values in read_json_lines(scalars[-1])[0].values() if scalars else ():
        # A NaN, which JSON does not know, reads as a float all the same.
        if isinstance(values, dict) and "loss" in values and re.fullmatch(r"\d+", str(values.get("step", ""))):
            losses.append((values["step"], values["loss"]))
    kept = losses[:: max(1, len(losses) // POINTS)]
    finite = [(step, loss) for step, loss in kept if abs(loss) < float("inf")]
    return {"loss": [[step, round(loss, 4)] for step, loss in finite]}
