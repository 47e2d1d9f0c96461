"""Look for mistakes in a config's data before training: python tools/check_dataset.py CONFIG."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ghm_mmdet.errors import plain_errors, require_file


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Read all annotations and images of a config's train, val and test data (COCO or VOC format), and "
        "print what they hold, how many anchors match an object, and what is suspicious. "
        "Exit code 0: training would run, 1: something would break it, 2: wrong use."
    )
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change entries of the config, e.g. train_dataloader.num_workers=4 key=[a,b] key=None; no spaces",
    )
    return parser.parse_args(arguments)


def check(args: argparse.Namespace) -> int:
    require_file(args.config, "config")

    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from rich.console import Console
    from rich.progress import track

    from ghm_mmdet.config import load_config
    from ghm_mmdet.data_check.dataset_report import report_dataset
    from ghm_mmdet.data_check.preflight import enter_default_scope

    cfg = load_config(args.config, args.cfg_options, work_dir=None, launcher="none")
    enter_default_scope(cfg)
    console = Console(stderr=True)
    report = report_dataset(cfg, lambda items, what, total: track(items, what, total=total, console=console))
    # A terminal's encoding may lack the letters of a file's name.
    sys.stdout.reconfigure(errors="backslashreplace")
    print(report)
    return int(report.breaks)


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    with plain_errors():
        sys.exit(check(args))


if __name__ == "__main__":
    main()
