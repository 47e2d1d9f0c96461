"""Measure how rare positives are and print the bias to start from: python tools/analysis/estimate_prior.py CONFIG."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ghm_mmdet.errors import UserError, plain_errors, require_file


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Count the positives of a detector's dense heads over its training data, with their own anchors, "
        "assigner and sampler, and print the bias_prob with which plain cross-entropy starts lowest."
    )
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--max-images",
        type=int,
        default=1000,
        metavar="N",
        help="look at N images, evenly spaced over the training data; a larger number than there are takes all of them "
        "(default: 1000)",
    )
    parser.add_argument("--module", help="classification layer, if its name is unusual, e.g. bbox_head.retina_cls")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change entries of the config, e.g. train_dataloader.num_workers=4 key=[a,b] key=None; no spaces",
    )
    return parser.parse_args(arguments)


def estimate(args: argparse.Namespace) -> None:
    require_file(args.config, "config")
    if args.max_images < 1:
        raise UserError(f"--max-images must be at least 1, got {args.max_images}.")

    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from mmdet.registry import DATASETS, MODELS
    from rich.console import Console
    from rich.progress import track

    from ghm_mmdet.config import load_config, require_parts
    from ghm_mmdet.data_check.preflight import build_part, check_classes, check_data, check_logits, enter_default_scope
    from ghm_mmdet.prior import find_dense_heads, init_cfg_with_prior, measure_priors

    cfg = load_config(args.config, args.cfg_options, work_dir=None, launcher="none")
    require_parts(cfg, "model", "train_dataloader")
    enter_default_scope(cfg)
    classes = check_data(cfg, ("train",))
    model = build_part(MODELS, cfg.model, "model")
    check_classes(model, classes)
    check_logits(model)
    heads = find_dense_heads(model, args.module)
    dataset = build_part(DATASETS, cfg.train_dataloader.dataset, "train_dataloader.dataset")
    priors = measure_priors(
        model,
        heads,
        dataset,
        max_images=args.max_images,
        num_workers=cfg.train_dataloader.get("num_workers", 0),
        progress=lambda images: track(images, "measuring", console=Console(stderr=True)),
    )
    for dense, prior in zip(heads, priors):
        print(f"{dense}, bias of {dense.layer}: {prior}")
        print(f"bias_prob={prior.probability:.3e}")
        print(f"model.{dense.name}.init_cfg={init_cfg_with_prior(dense, prior)}")


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    with plain_errors():
        estimate(args)


if __name__ == "__main__":
    main()
