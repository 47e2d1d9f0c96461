"""Train a detector. Several ranks: tools/dist_train.sh CONFIG GPUS, tools/slurm_train.sh."""

from __future__ import annotations

import argparse

from ghm_mmdet.cli.arguments import add_cfg_options, add_launcher, add_work_dir
from ghm_mmdet.errors import require_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file")
    parser.add_argument("--amp", action="store_true", help="mixed precision (bfloat16 where there is no GPU)")
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale lr by total batch / auto_scale_lr.base_batch_size"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from this checkpoint, without a path from the newest whole one in the work_dir",
    )
    parser.add_argument(
        "--allow-partial-load",
        action="store_true",
        help="let load_from fill a part of the model, e.g. to fine-tune with other classes",
    )
    add_work_dir(parser)
    add_cfg_options(parser)
    add_launcher(parser)


def run(args: argparse.Namespace) -> None:
    from ghm_mmdet.cli.environment import check_stack
    from ghm_mmdet.cli.launch import (
        end_process_group,
        is_first_rank_of_node,
        read_ranks,
        require_same_data,
        start_process_group,
    )

    read_ranks(args.launcher, args.local_rank)
    require_file(args.config, "config")
    if args.resume not in (None, "auto"):
        require_file(args.resume, "checkpoint to resume from")
    check_stack()

    from ghm_mmdet.cli import training

    cfg = training.prepare(args)
    walk = training.preflight(cfg, partial=args.allow_partial_load) if is_first_rank_of_node() else None
    start_process_group(cfg)
    require_same_data(None if walk is None else walk.amounts)
    training.share_checkpoint_choice(cfg)
    training.run(cfg)
    end_process_group()
