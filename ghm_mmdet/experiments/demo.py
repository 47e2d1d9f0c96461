"""Train and test a detector with GHM on scenes of digits, on a CPU; make demo sets up .venv first.

Makes the digits data, trains configs/retinanet_ghm_digits.py, tests it on scenes that it has not seen, prints a table,
and draws detections beside ground truth into work_dirs/retinanet_ghm_digits/detections.png. Repeated, it uses what is
there: whole data, a training that is finished, or the newest checkpoint of one that was interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ghm_mmdet.cli.arguments import add_cfg_options
from ghm_mmdet.cli.environment import available_cpus, check_stack
from ghm_mmdet.cli.paths import ROOT
from ghm_mmdet.errors import UserError
from ghm_mmdet.json_lines import read_json_lines

if TYPE_CHECKING:
    from mmengine.config import Config

CONFIG = ROOT / "configs" / "retinanet_ghm_digits.py"
SCENES = 6
SCORE_THRESHOLD = 0.5
# The losses of each training in a work_dir.
LOGGED = "*/vis_data/scalars.json"
# Where mmengine's dumped config may differ from the file that it comes from.
CHANGED_BY_TRAINING = ("work_dir", "launcher", "resume", "load_from")

console = Console(highlight=False, markup=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path("data/digits"), help="folder of the data")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs") / CONFIG.stem, help="folder of the results")
    parser.add_argument(
        "--fresh", action="store_true", help="train anew; what is in the work dir is moved to a folder beside it"
    )
    add_cfg_options(parser)


def say(step: int, text: str) -> None:
    console.print(f"[{step}/4] {text}", soft_wrap=True)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[float, str], None]]:
    """Yields a function for the share that is done and a word on it: a bar on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield lambda share, note: console.print(f"      {note}", soft_wrap=True)
        return
    columns = (TextColumn("     "), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda share, note: bar.update(task, completed=share, description=note)


def run_tool(name: str, arguments: list[object], log: Path, environment: dict[str, str], epochs: int = 0) -> None:
    """Runs a command to its end, its output in a log file, the progress of a training of ``epochs`` on the screen.

    Raises:
        UserError: It failed; the message repeats the command's own last words.
    """
    words = [sys.executable, "-m", "ghm_mmdet", name, *map(str, arguments)]
    log.parent.mkdir(parents=True, exist_ok=True)
    earlier = set(log.parent.glob(LOGGED))
    with (
        log.open("w") as file,
        progress() as show,
        subprocess.Popen(words, env=environment, stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        shown = 0
        try:
            while process.poll() is None:
                time.sleep(0.1)
                shown += show_entries(set(log.parent.glob(LOGGED)) - earlier, shown, epochs, show)
            show_entries(set(log.parent.glob(LOGGED)) - earlier, shown, epochs, show)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        written = log.read_text(errors="replace").splitlines()
        reason = next((line for line in reversed(written) if line.startswith("error: ")), "".join(written[-1:]))
        raise UserError(
            f"{name} failed: {reason.removeprefix('error: ')}\n"
            f"It was started as `{shlex.join(words)}`, its output is in {log}"
        )


def show_entries(files: set[Path], shown: int, epochs: int, show: Callable[[float, str], None]) -> int:
    """Shows what a training has logged since ``shown`` entries; returns how many these are."""
    logged = [entry for file in files for entry in read_json_lines(file)[0].values() if epochs and "loss" in entry]
    for entry in logged[shown:]:
        note = f"epoch {entry['epoch']}/{epochs}, iteration {entry['step']}, loss {entry['loss']:.2f}"
        show((entry["epoch"] - 1) / epochs, note)
    return len(logged) - shown


def load_configs(args: argparse.Namespace) -> tuple[Config, Config | None]:
    """The config as this call would train it, and the one that the work dir was trained with."""
    from ghm_mmdet.config import load_config

    wanted = load_config(str(CONFIG), args.cfg_options, work_dir=str(args.work_dir), launcher="none")
    dumped = args.work_dir / CONFIG.name
    if not dumped.is_file():
        return wanted, None
    try:
        return wanted, load_config(str(dumped), [], work_dir=str(args.work_dir), launcher="none")
    except UserError:
        return wanted, None


def same_training(config: Config, other: Config) -> bool:
    """Whether two configs train the same thing."""
    contents = [
        {key: value for key, value in json.loads(json.dumps(item.to_dict())).items() if key not in CHANGED_BY_TRAINING}
        for item in (config, other)
    ]
    return contents[0] == contents[1]


def move_aside(folder: Path) -> Path:
    number = next(number for number in range(1, 10_000) if not folder.with_name(f"{folder.name}.{number}").exists())
    return folder.rename(folder.with_name(f"{folder.name}.{number}"))


def train(args: argparse.Namespace, environment: dict[str, str]) -> tuple[Path, str]:
    """Trains unless it is done; returns the checkpoint and what to say about the time."""
    config, trained = load_configs(args)
    epochs = config.train_cfg.max_epochs
    checkpoint = args.work_dir / f"epoch_{epochs}.pth"
    same = trained is not None and same_training(config, trained)
    if same and not args.fresh and checkpoint.is_file():
        say(2, f"training is done already: {checkpoint} (--fresh trains anew)")
        return checkpoint, "done before"
    if any(args.work_dir.glob("epoch_*.pth")) and (args.fresh or not same):
        reason = "--fresh" if args.fresh else "it was trained with another config or other data"
        say(2, f"{args.work_dir} was moved to {move_aside(args.work_dir)}: {reason}")
    resuming = any(args.work_dir.glob("epoch_*.pth"))
    say(2, f"{'going on with the training' if resuming else 'training'} for {epochs} epochs: {args.work_dir}")
    start = time.monotonic()
    arguments = [CONFIG, "--work-dir", args.work_dir, "--resume", *cfg_options(args)]
    run_tool("train", arguments, args.work_dir / "demo_train.log", environment, epochs)
    return checkpoint, f"{time.monotonic() - start:.0f} s" + (", a part of it before" if resuming else "")


def cfg_options(args: argparse.Namespace) -> list[str]:
    return ["--cfg-options", *args.cfg_options] if args.cfg_options else []


def test(args: argparse.Namespace, checkpoint: Path, environment: dict[str, str]) -> tuple[dict[str, float], Path]:
    """Tests the checkpoint; returns the metrics that it has written, and the file of the detections."""
    detections = args.work_dir / "detections.pkl"
    before = set(args.work_dir.glob("*/*.json"))
    arguments = [CONFIG, checkpoint, "--work-dir", args.work_dir, "--out", detections, *cfg_options(args)]
    run_tool("test", arguments, args.work_dir / "demo_test.log", environment)
    written = set(args.work_dir.glob("*/*.json")) - before
    if len(written) != 1:
        raise UserError(f"the test wrote {len(written)} files of metrics below {args.work_dir}, not one.")
    metrics = json.loads(written.pop().read_text())
    if "coco/bbox_mAP" not in metrics:
        raise UserError(
            f"the detector found nothing in any scene, so there is no mAP; see {args.work_dir}/demo_train.log"
        )
    return metrics, detections


def draw(args: argparse.Namespace, detections: Path) -> Path:
    """Draws the first test scenes, each with its ground truth on the left and its detections on the right."""
    import cv2
    import mmcv
    import mmengine
    import numpy as np
    from mmdet.registry import DATASETS
    from mmdet.utils import register_all_modules
    from mmdet.visualization import DetLocalVisualizer
    from mmengine.structures import InstanceData

    from ghm_mmdet.coco import quiet

    register_all_modules()
    config, _ = load_configs(args)
    with quiet():
        dataset = DATASETS.build(config.test_dataloader.dataset)
    predictions = {prediction["img_id"]: prediction["pred_instances"] for prediction in mmengine.load(detections)}
    visualizer = DetLocalVisualizer(line_width=2)
    visualizer.dataset_meta = dataset.metainfo
    scale, gap, white = 3, 16, (255, 255, 255)
    pairs = []
    for index in range(min(SCENES, len(dataset))):
        sample = dataset[index]["data_samples"]
        image = mmcv.imrescale(mmcv.imread(sample.img_path, channel_order="rgb"), scale)
        sample.gt_instances.bboxes = sample.gt_instances.bboxes.tensor * scale
        found = InstanceData(**predictions[sample.img_id])
        found.bboxes = found.bboxes * scale
        sample.pred_instances = found
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*out of bounds")
            visualizer.add_datasample("scene", image, sample, pred_score_thr=SCORE_THRESHOLD)
        pairs.append(cv2.copyMakeBorder(visualizer.get_image(), gap, 0, gap, 0, cv2.BORDER_CONSTANT, value=white))
    pairs += [np.full_like(pairs[0], 255)] * (len(pairs) % 2)
    grid = np.vstack([np.hstack(pairs[row : row + 2]) for row in range(0, len(pairs), 2)])
    grid = cv2.copyMakeBorder(grid, 60, gap, 0, gap, cv2.BORDER_CONSTANT, value=white)
    title = f"each pair: ground truth on the left, detections with a score of at least {SCORE_THRESHOLD} on the right"
    cv2.putText(grid, title, (gap, 44), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 2, cv2.LINE_AA)
    picture = args.work_dir / "detections.png"
    mmcv.imwrite(mmcv.rgb2bgr(grid), str(picture))
    return picture


def run(args: argparse.Namespace) -> int | None:
    check_stack()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return demo(args)
    except KeyboardInterrupt:
        print("\ninterrupted; started again, the demo goes on from the last checkpoint", file=sys.stderr)
        return 128 + signal.SIGINT


def demo(args: argparse.Namespace) -> int | None:
    from mmengine.logging import MMLogger

    # This process reads configs and draws; what it would log, training and test log too.
    MMLogger.get_current_instance().setLevel("WARNING")
    cpus = available_cpus()
    # A network of this size gets slower with more threads than a few.
    environment = {"OMP_NUM_THREADS": str(min(cpus, 4)), **os.environ, "DIGITS_ROOT": f"{args.data}/"}
    os.environ["DIGITS_ROOT"] = environment["DIGITS_ROOT"]
    times = {}

    start = time.monotonic()
    say(1, f"digits data: {args.data}")
    made = subprocess.run([sys.executable, "-m", "ghm_mmdet", "digits", "--out", args.data], env=environment)
    if made.returncode:
        return made.returncode
    times["data"] = f"{time.monotonic() - start:.0f} s"

    checkpoint, times["training"] = train(args, environment)

    start = time.monotonic()
    say(3, f"testing {checkpoint} on scenes of other handwriting")
    metrics, detections = test(args, checkpoint, environment)
    times["test"] = f"{time.monotonic() - start:.0f} s"

    start = time.monotonic()
    say(4, "drawing detections beside ground truth")
    picture = draw(args, detections)
    times["picture"] = f"{time.monotonic() - start:.0f} s"

    table = Table(title="RetinaNet with GHM-C and GHM-R on held-out scenes of digits")
    for name in ("mAP", "AP50", "AP75", *times):
        table.add_column(name, justify="right")
    values = [metrics[f"coco/bbox_{name}"] for name in ("mAP", "mAP_50", "mAP_75")]
    table.add_row(*(f"{value:.3f}" for value in values), *times.values())
    console.print(table)
    console.print(f"picture: {picture}", soft_wrap=True)
    return None
