"""Draw the gradient norms of a trained detector, and what the losses make of them, after the GHM paper's figures.

Counts the gradient norms of the dense head (RetinaNet's, the RPN's, ...) over the test data, and draws them with what
cross-entropy, OHEM, Focal Loss and GHM-C, and smooth L1, ASL1 and GHM-R make of them. The numbers go into a JSON file
beside the picture.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ghm_mmdet.cli.arguments import add_cfg_options, positive_int
from ghm_mmdet.errors import UserError, print_notice, require_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument(
        "--out", type=Path, default=Path("work_dirs/gradient_norms.png"), help="picture to write (default: %(default)s)"
    )
    parser.add_argument(
        "--split", choices=["train", "val", "test"], default="test", help="data to look at (default: %(default)s)"
    )
    parser.add_argument(
        "--max-images",
        type=positive_int,
        default=500,
        metavar="N",
        help="look at about N images (default: %(default)s)",
    )
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    require_file(args.config, "config")
    require_file(args.checkpoint, "checkpoint")
    if args.out.suffix.lower() != ".png":
        raise UserError(f"--out writes a picture: its name must end in .png, got {str(args.out)!r}.")

    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from itertools import islice

    from mmdet.registry import MODELS
    from mmengine.runner import Runner, set_random_seed

    from ghm_mmdet.checkpoint.safe_loading import (
        allow_mmengine_checkpoints,
        force_weights_only,
        load_weights,
        read_checkpoint,
    )
    from ghm_mmdet.cli.progress import track
    from ghm_mmdet.config import build_part, load_config, require_parts
    from ghm_mmdet.data_check.model_trial import try_model
    from ghm_mmdet.data_check.preflight import check_classes, check_data, enter_default_scope
    from ghm_mmdet.gradient_norms.detector_norms import (
        as_numbers,
        count_gradient_norms,
        curves_of,
        draw_gradient_norms,
        find_head_losses,
        load_annotations_first,
    )

    force_weights_only()
    allow_mmengine_checkpoints()
    cfg = load_config(args.config, args.cfg_options, work_dir=None, launcher="none")
    require_parts(cfg, "model", f"{args.split}_dataloader")
    loader_cfg = cfg[f"{args.split}_dataloader"]
    load_annotations_first(loader_cfg.dataset, f"{args.split}_dataloader.dataset")
    enter_default_scope(cfg)
    walk = check_data(cfg, (args.split,))
    model = build_part(MODELS, cfg.model, "model")
    check_classes(model, walk.classes)
    losses, left_out = find_head_losses(model)
    load_weights(model, read_checkpoint(args.checkpoint), args.checkpoint)
    try_model(model, {"train": walk.samples.get(args.split)}, has_weights=True)
    for reason in left_out:
        print_notice(reason)

    set_random_seed(0)
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    batches = min(-(-args.max_images // loader_cfg.get("batch_size", 1)), len(loader))
    counts = count_gradient_norms(model, losses, track(islice(loader, batches), f"{args.split} data", batches))
    draw_gradient_norms(counts, args.out)
    numbers = args.out.with_suffix(".json")
    content = [as_numbers(count, curves_of(count)) for count in counts]
    numbers.write_text(json.dumps({"config": args.config, "checkpoint": args.checkpoint, "losses": content}))

    for count in counts:
        curves = curves_of(count)
        easy, hard = curves.norm < 0.1, curves.norm >= 0.9
        samples = curves.count / curves.count.sum()
        print(f"{count.loss}: {int(curves.count.sum()):,} elements")
        shares = {"of the elements": samples, **{name: curves.contribution(name) for name in curves.reformulated}}
        for name, share in shares.items():
            print(f"  {name:15} {share[easy].sum():9.4%} with g < 0.1, {share[hard].sum():9.4%} with g >= 0.9")
    print(f"written: {args.out} and {numbers}")
