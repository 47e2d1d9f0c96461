"""Test a detector: run it over the test data and print its metrics. Several ranks: tools/dist_test.sh."""

from __future__ import annotations

import argparse

from ghm_mmdet.cli.arguments import add_cfg_options, add_launcher, add_work_dir, require_pickle_target
from ghm_mmdet.errors import require_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file, or an address such as https://...")
    parser.add_argument("--out", help="write the predictions to this .pkl file")
    parser.add_argument("--show", action="store_true", help="show the detections in a window")
    parser.add_argument("--show-dir", help="draw the detections into this folder under WORK_DIR/TIMESTAMP")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds between pictures with --show (default 2)")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation")
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
    require_file(args.checkpoint, "checkpoint")
    if args.out is not None:
        require_pickle_target(args.out)
    check_stack()

    from ghm_mmdet.cli import testing

    cfg = testing.prepare(args)
    walk = testing.preflight(cfg) if is_first_rank_of_node() else None
    start_process_group(cfg)
    require_same_data(None if walk is None else walk.amounts)
    testing.run(cfg, args)
    end_process_group()
