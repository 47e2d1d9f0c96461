"""Train and test a detector with GHM on scenes of digits, on a CPU; make demo sets up .venv first.

Makes the digits data, trains configs/retinanet_ghm_digits.py, tests it on scenes that it has not seen, prints a table,
and draws detections beside ground truth into work_dirs/retinanet_ghm_digits/detections.png. Repeated, it uses what is
there: whole data, a training that is finished, or the newest checkpoint of one that was interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from ghm_mmdet.cli.arguments import add_cfg_options
from ghm_mmdet.cli.detections_picture import draw_coco_detections
from ghm_mmdet.cli.environment import check_stack
from ghm_mmdet.cli.paths import ROOT
from ghm_mmdet.cli.subcommand import console, run_subcommand
from ghm_mmdet.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

CONFIG = ROOT / "configs" / "retinanet_ghm_digits.py"
SCENES = 6
SCORE_THRESHOLD = 0.5
# Where mmengine's dumped config may differ from the file that it comes from.
CHANGED_BY_TRAINING = ("work_dir", "launcher", "resume", "load_from")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path("data/digits"), help="folder of the data")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs") / CONFIG.stem, help="folder of the results")
    parser.add_argument(
        "--fresh", action="store_true", help="train anew; what is in the work dir is moved to a folder beside it"
    )
    add_cfg_options(parser)


def say(step: int, text: str) -> None:
    console.print(f"[{step}/4] {text}", soft_wrap=True)


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


def train(args: argparse.Namespace) -> tuple[Path, str]:
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
    log = args.work_dir / "demo_train.log"
    run_subcommand("train", arguments, log, work_dir=args.work_dir, epochs=epochs)
    return checkpoint, f"{time.monotonic() - start:.0f} s" + (", a part of it before" if resuming else "")


def cfg_options(args: argparse.Namespace) -> list[str]:
    return ["--cfg-options", *args.cfg_options] if args.cfg_options else []


def test(args: argparse.Namespace, checkpoint: Path) -> tuple[dict[str, float], Path]:
    """Tests the checkpoint; returns the metrics that it has written, and the file of the detections."""
    detections = args.work_dir / "detections.pkl"
    before = set(args.work_dir.glob("*/*.json"))
    arguments = [CONFIG, checkpoint, "--work-dir", args.work_dir, "--out", detections, *cfg_options(args)]
    run_subcommand("test", arguments, args.work_dir / "demo_test.log")
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
    config, _ = load_configs(args)
    data = config.test_dataloader.dataset
    picture = args.work_dir / "detections.png"
    draw_coco_detections(
        Path(data.data_root, data.ann_file),
        Path(data.data_root, data.data_prefix.img),
        detections,
        picture,
        scenes=SCENES,
        threshold=SCORE_THRESHOLD,
    )
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
    os.environ["DIGITS_ROOT"] = f"{args.data}/"
    times = {}

    start = time.monotonic()
    say(1, f"digits data: {args.data}")
    made = subprocess.run([sys.executable, "-m", "ghm_mmdet", "digits", "--out", args.data])
    if made.returncode:
        return made.returncode
    times["data"] = f"{time.monotonic() - start:.0f} s"

    checkpoint, times["training"] = train(args)

    start = time.monotonic()
    say(3, f"testing {checkpoint} on scenes of other handwriting")
    metrics, detections = test(args, checkpoint)
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
