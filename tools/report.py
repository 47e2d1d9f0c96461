"""Compare trained runs on one HTML page: python tools/report.py WORK_DIR... [--out report.html]."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ghm_mmdet.cli.arguments import positive
from ghm_mmdet.errors import plain_errors


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare runs of tools/train.py on one self-contained HTML page: AP, precision-recall curves, "
        "losses, gradient norms, detections beside ground truth, and the worst mistakes first. Each run is tested with "
        "its newest checkpoint; its detections are kept in WORK_DIR/report for the next time."
    )
    parser.add_argument("work_dirs", nargs="+", metavar="WORK_DIR", help="folder of a training")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="page to write (default: %(default)s)")
    parser.add_argument("--split", choices=["test", "val"], default="test", help="data (default: %(default)s)")
    parser.add_argument("--images", type=positive, metavar="N", help="take the first N images only")
    parser.add_argument(
        "--score-thr",
        type=float,
        metavar="SCORE",
        help="count detections of at least this score (default: where the run's F1 is highest)",
    )
    parser.add_argument("--device", help="cpu, cuda:0, ... (default: a GPU where there is one)")
    parser.add_argument(
        "--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="changes to every config"
    )
    args = parser.parse_args(arguments)
    args.command = shlex.join(["python", "tools/report.py", *(sys.argv[1:] if arguments is None else arguments)])
    return args


def report(args: argparse.Namespace) -> None:
    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from rich.console import Console
    from rich.progress import track

    from ghm_mmdet.report.compare import prepare, run

    console = Console(stderr=True)
    work_dirs = prepare(args)
    run(work_dirs, args, lambda batches, name: track(batches, name, console=console))


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    with plain_errors():
        report(args)


if __name__ == "__main__":
    main()
