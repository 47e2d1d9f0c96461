"""Test a detector: python tools/test.py CONFIG CHECKPOINT [options]. Several ranks: tools/dist_test.sh."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ghm_mmdet.cli.arguments import add_common_arguments, require_pickle_target
from ghm_mmdet.cli.launch import end_process_group, is_first_rank_of_node, read_ranks, start_process_group
from ghm_mmdet.errors import plain_errors, require_file


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Test a detector: runs it over the test data and prints its metrics.")
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file, or an address such as https://...")
    parser.add_argument("--out", help="write the predictions to this .pkl file")
    parser.add_argument("--show", action="store_true", help="show the detections in a window")
    parser.add_argument("--show-dir", help="draw the detections into this folder under WORK_DIR/TIMESTAMP")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds between pictures with --show (default 2)")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation")
    add_common_arguments(parser)
    return parser.parse_args(arguments)


def test(args: argparse.Namespace) -> None:
    read_ranks(args.launcher, args.local_rank)
    require_file(args.config, "config")
    require_file(args.checkpoint, "checkpoint")
    if args.out is not None:
        require_pickle_target(args.out)

    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from ghm_mmdet.cli.testing import preflight, prepare, run

    cfg = prepare(args)
    if is_first_rank_of_node():
        preflight(cfg)
    start_process_group(cfg)
    run(cfg, args)
    end_process_group()


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    with plain_errors():
        test(args)


if __name__ == "__main__":
    main()
