"""Train a detector: python tools/train.py CONFIG [options]. Several ranks: tools/dist_train.sh CONFIG GPUS."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ghm_mmdet.cli.arguments import add_common_arguments
from ghm_mmdet.cli.launch import end_process_group, is_first_rank_of_node, read_ranks, start_process_group
from ghm_mmdet.errors import plain_errors, require_file


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a detector.")
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
    add_common_arguments(parser)
    return parser.parse_args(arguments)


def train(args: argparse.Namespace) -> None:
    read_ranks(args.launcher, args.local_rank)
    require_file(args.config, "config")
    if args.resume not in (None, "auto"):
        require_file(args.resume, "checkpoint to resume from")

    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from ghm_mmdet.cli.training import prepare, run, share_checkpoint_choice

    cfg = prepare(args)
    if is_first_rank_of_node():
        from ghm_mmdet.cli.training import preflight

        preflight(cfg, partial=args.allow_partial_load)
    start_process_group(cfg)
    share_checkpoint_choice(cfg)
    run(cfg)
    end_process_group()


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    with plain_errors():
        train(args)


if __name__ == "__main__":
    main()
