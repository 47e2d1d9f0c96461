"""Draw the gradient norms of a trained detector: python tools/analysis/gradient_norms.py CONFIG CHECKPOINT."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ghm_mmdet.engine.arguments import require_file
from ghm_mmdet.engine.errors import plain_errors


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Count the gradient norms of a RetinaNet's classification over its test data, and draw them with "
        "what cross-entropy, Focal Loss and GHM-C make of them."
    )
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument(
        "--out", type=Path, default=Path("work_dirs/gradient_norms.png"), help="picture to write (default: %(default)s)"
    )
    parser.add_argument("--cfg-options", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    require_file(args.config, "config")
    require_file(args.checkpoint, "checkpoint")

    from ghm_mmdet.engine.environment import check_stack

    check_stack()

    from mmdet.registry import MODELS
    from mmengine.runner import Runner
    from rich.console import Console
    from rich.progress import track

    from ghm_mmdet.engine.checkpoint import (
        allow_mmengine_checkpoints,
        check_fits,
        force_weights_only,
        read_checkpoint,
    )
    from ghm_mmdet.engine.config import load_config, require_parts
    from ghm_mmdet.engine.gradient_norms import draw_gradient_norms, record_gradient_norms
    from ghm_mmdet.engine.preflight import build_part, check_classes, check_data, enter_default_scope

    force_weights_only()
    allow_mmengine_checkpoints()
    cfg = load_config(args.config, args.cfg_options, work_dir=None, launcher="none")
    require_parts(cfg, "model", "test_dataloader")
    enter_default_scope(cfg)
    classes = check_data(cfg, ("test",))
    model = build_part(MODELS, cfg.model, "model")
    check_classes(model, classes)
    checkpoint = read_checkpoint(args.checkpoint)
    check_fits(model, checkpoint, args.checkpoint)
    model.load_state_dict(checkpoint.get("state_dict", checkpoint), strict=False)
    batches = Runner.build_dataloader(cfg.test_dataloader)
    recorder = record_gradient_norms(model, track(batches, "test data", console=Console(stderr=True)))
    draw_gradient_norms(recorder, args.out)
    count = recorder.count
    share = count.double() / count.sum()
    print(f"{int(count.sum()):,} samples: {share[:10].sum():.4%} with g < 0.1, {share[-10:].sum():.4%} with g >= 0.9")
    print(f"written: {args.out}")


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    with plain_errors():
        run(args)


if __name__ == "__main__":
    main()
