"""Count the positives of a detector's dense heads over its training data, and print the bias to start from.

The heads count with their own anchors, assigner and sampler. With the printed bias_prob plain cross-entropy starts
lowest.
"""

from __future__ import annotations

import argparse

from ghm_mmdet.cli.arguments import add_cfg_options, positive_int
from ghm_mmdet.errors import require_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--max-images",
        type=positive_int,
        default=1000,
        metavar="N",
        help="look at N images, evenly spaced over the training data; a larger number than there are takes all of them "
        "(default: 1000)",
    )
    parser.add_argument("--module", help="classification layer, if its name is unusual, e.g. bbox_head.retina_cls")
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    require_file(args.config, "config")

    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from mmdet.registry import DATASETS, MODELS

    from ghm_mmdet.cli.progress import track
    from ghm_mmdet.config import build_part, load_config, require_parts
    from ghm_mmdet.data_check.model_trial import try_model
    from ghm_mmdet.data_check.preflight import check_classes, check_data, check_logits, enter_default_scope
    from ghm_mmdet.prior import find_dense_heads, init_cfg_with_prior, measure_priors

    cfg = load_config(args.config, args.cfg_options, work_dir=None, launcher="none")
    require_parts(cfg, "model", "train_dataloader")
    enter_default_scope(cfg)
    walk = check_data(cfg, ("train",))
    model = build_part(MODELS, cfg.model, "model")
    check_classes(model, walk.classes)
    check_logits(model)
    try_model(model, walk.samples)
    heads = find_dense_heads(model, args.module)
    dataset = build_part(DATASETS, cfg.train_dataloader.dataset, "train_dataloader.dataset")
    priors = measure_priors(
        model,
        heads,
        dataset,
        max_images=args.max_images,
        batch_size=cfg.train_dataloader.get("batch_size", 1),
        by_aspect_ratio="AspectRatio" in str(cfg.train_dataloader.get("batch_sampler")),
        num_workers=cfg.train_dataloader.get("num_workers", 0),
        progress=lambda images: track(images, "measuring"),
    )
    for dense, prior in zip(heads, priors):
        print(f"{dense}, bias of {dense.layer}: {prior}")
        print(f"bias_prob={prior.probability:.3e}")
        print(f"model.{dense.name}.init_cfg={init_cfg_with_prior(dense, prior)}")
