"""Compare trained runs on one self-contained HTML page.

It holds AP, precision-recall curves, losses, gradient norms, detections beside ground truth, and the worst mistakes
first. Each run is tested with its newest checkpoint; its detections are kept in WORK_DIR/report for the next time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ghm_mmdet.cli.arguments import add_cfg_options, positive_int, score


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("work_dirs", nargs="+", metavar="WORK_DIR", help="folder of a training")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="page to write (default: %(default)s)")
    parser.add_argument("--split", choices=["test", "val"], default="test", help="data (default: %(default)s)")
    parser.add_argument("--images", type=positive_int, metavar="N", help="take the first N images only")
    parser.add_argument(
        "--score-thr",
        type=score,
        metavar="SCORE",
        help="count detections of at least this score (default: where the run's F1 is highest)",
    )
    parser.add_argument("--device", help="cpu, cuda:0, ... (default: a GPU where there is one)")
    add_cfg_options(parser, "change entries of every config")


def run(args: argparse.Namespace) -> None:
    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from ghm_mmdet.report import compare

    compare.run(compare.prepare(args), args)
