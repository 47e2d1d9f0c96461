"""Detect objects in an image, or in all images of a folder, with mmdet's DetInferencer.

Pictures with the detections drawn go to OUT/vis, all detections as JSON to OUT/preds.
"""

from __future__ import annotations

import argparse

from ghm_mmdet.cli.arguments import add_cfg_options, positive_int, score
from ghm_mmdet.errors import require_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", metavar="IMAGE_OR_DIR", help="image file, or a folder of them")
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file, or an address such as https://...")
    parser.add_argument("--out", "--out-dir", default="outputs", metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--pred-score-thr",
        "--score-thr",
        type=score,
        default=0.3,
        metavar="SCORE",
        help="draw detections of at least this score (default: %(default)s); the JSON holds all",
    )
    parser.add_argument("--device", help="cpu, cuda:0, ... (default: a GPU where there is one)")
    parser.add_argument("--batch-size", type=positive_int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--no-save-vis", action="store_true", help="draw no pictures")
    parser.add_argument("--no-save-pred", action="store_true", help="write no JSON")
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    require_file(args.config, "config")
    require_file(args.checkpoint, "checkpoint")

    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from ghm_mmdet.cli import prediction

    images = prediction.find_images(args.inputs)
    prediction.run(prediction.prepare(args), images, args)
