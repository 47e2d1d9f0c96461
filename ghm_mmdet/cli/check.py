"""Look for mistakes in a config's data before training.

Reads all annotations and images of the config's train, val and test data (COCO or VOC format), and prints what they
hold, how many anchors match an object, and what is suspicious. Where losses of this package are in the model, it takes
a training step of one or two images, and names what they would do wrong in silence. Exit code 0: training would run, 1:
something would break it, 2: wrong use.
"""

from __future__ import annotations

import argparse
import io
import os
import sys

from ghm_mmdet.cli.arguments import add_cfg_options, positive_int
from ghm_mmdet.errors import UserError, require_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--max-images",
        type=positive_int,
        metavar="N",
        help="look at the files of N images of each data set, evenly spaced (default: all)",
    )
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> int:
    require_file(args.config, "config")

    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from mmengine.logging import MMLogger

    from ghm_mmdet.cli.progress import track
    from ghm_mmdet.config import load_config
    from ghm_mmdet.data_check.dataset_report import report_dataset
    from ghm_mmdet.data_check.findings import Kind
    from ghm_mmdet.data_check.model_check import check_config_model
    from ghm_mmdet.data_check.model_trial import try_model
    from ghm_mmdet.data_check.preflight import enter_default_scope

    # Its stream is that of the report.
    MMLogger.get_current_instance().setLevel("ERROR")
    cfg = load_config(args.config, args.cfg_options, work_dir=None, launcher="none")
    enter_default_scope(cfg)
    report = report_dataset(cfg, track, args.max_images, workers=os.cpu_count() or 1)
    if report.model is not None and not report.breaks:
        try:
            try_model(report.model, report.walk.samples)
        except UserError as error:
            report.walk.findings.add(Kind.MODEL, *str(error).split("\n", 1))
    if not report.breaks and cfg.get("model") is not None and cfg.get("train_dataloader") is not None:
        for finding in check_config_model(cfg):
            kind = Kind.MODEL if finding.wrong else Kind.MODEL_NOTE
            report.walk.findings.add(kind, f"{finding.loss}: {finding.text}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal's encoding may lack the letters of a file's name.
        sys.stdout.reconfigure(errors="backslashreplace")
    print(report)
    return int(report.breaks)
