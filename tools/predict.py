"""Detect objects in images: python tools/predict.py IMAGE_OR_DIR CONFIG CHECKPOINT [--out DIR]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ghm_mmdet.cli.arguments import positive
from ghm_mmdet.errors import plain_errors, require_file


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Detect objects in an image, or in all images of a folder, with mmdet's DetInferencer: pictures "
        "with the detections drawn go to OUT/vis, all detections as JSON to OUT/preds."
    )
    parser.add_argument("inputs", metavar="IMAGE_OR_DIR", help="image file, or a folder of them")
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file, or an address such as https://...")
    parser.add_argument("--out", "--out-dir", default="outputs", metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--pred-score-thr",
        "--score-thr",
        type=float,
        default=0.3,
        metavar="SCORE",
        help="draw detections of at least this score (default: %(default)s); the JSON holds all",
    )
    parser.add_argument("--device", help="cpu, cuda:0, ... (default: a GPU where there is one)")
    parser.add_argument("--batch-size", type=positive, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--no-save-vis", action="store_true", help="draw no pictures")
    parser.add_argument("--no-save-pred", action="store_true", help="write no JSON")
    parser.add_argument("--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    return parser.parse_args(arguments)


def predict(args: argparse.Namespace) -> None:
    require_file(args.config, "config")
    require_file(args.checkpoint, "checkpoint")

    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from rich.console import Console
    from rich.progress import track

    from ghm_mmdet.cli.prediction import find_images, prepare, run

    images = find_images(args.inputs)
    cfg = prepare(args)
    run(cfg, images, args, lambda batches: track(batches, "images", console=Console(stderr=True)))


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    with plain_errors():
        predict(args)


if __name__ == "__main__":
    main()
