"""The steps of the command test."""

from __future__ import annotations

import argparse
import copy

from mmdet.engine.hooks.utils import trigger_visualization_hook
from mmdet.evaluation import DumpDetResults
from mmdet.registry import MODELS, RUNNERS
from mmengine.config import Config

from ghm_mmdet.checkpoint.safe_loading import (
    allow_mmengine_checkpoints,
    force_weights_only,
    load_weights,
    read_checkpoint,
)
from ghm_mmdet.cli.config_parts import build_runner, check_parts
from ghm_mmdet.cli.drawn_text import draw_names_as_written
from ghm_mmdet.cli.quiet_runner import QuietRunner
from ghm_mmdet.cli.tta import use_test_time_augmentation
from ghm_mmdet.config import build_part, load_config, require_parts
from ghm_mmdet.data_check.model_keys import check_model_keys
from ghm_mmdet.data_check.model_trial import try_model
from ghm_mmdet.data_check.preflight import (
    check_classes,
    check_data,
    check_logits,
    check_masks,
    check_trained_classes,
    check_work_dir,
    enter_default_scope,
)
from ghm_mmdet.data_check.walk import Walk
from ghm_mmdet.errors import UserError
from ghm_mmdet.hooks.ground_truth_ids_hook import GroundTruthIdsHook


def prepare(args: argparse.Namespace) -> Config:
    """Reads the config and works the command line into it; writes nothing."""
    force_weights_only()
    allow_mmengine_checkpoints()
    cfg = load_config(args.config, args.cfg_options, work_dir=args.work_dir, launcher=args.launcher)
    require_parts(cfg, "model", "test_dataloader", "test_cfg", "test_evaluator")
    cfg.load_from = args.checkpoint
    # The config of a resumed run says resume=True, which would resume a training here.
    cfg.resume = False
    if args.show or args.show_dir:
        if "visualization" not in cfg.get("default_hooks", {}):
            raise UserError(
                f"--show and --show-dir need default_hooks.visualization in the config: {cfg.filename}\n"
                "Set it: --cfg-options default_hooks.visualization.type=DetVisualizationHook"
            )
        trigger_visualization_hook(cfg, args)
    if args.tta:
        use_test_time_augmentation(cfg)
    return cfg


def preflight(cfg: Config) -> Walk:
    """Checks data, model and checkpoint, then creates the work_dir; returns what the data hold."""
    enter_default_scope(cfg)
    check_parts(cfg, ("test",))
    walk = check_data(cfg, ("test",))
    classes = walk.classes
    model = build_part(MODELS, copy.deepcopy(cfg.model), "model")
    # Test-time augmentation wraps the model that the checkpoint is for.
    detector = model.module if "tta_cfg" in cfg.model else model
    check_model_keys(cfg.model.module if detector is not model else cfg.model, detector)
    check_classes(detector, classes)
    check_logits(detector)
    check_masks(cfg, ("test",), detector)
    checkpoint = read_checkpoint(cfg.load_from)
    load_weights(detector, checkpoint, cfg.load_from)
    check_trained_classes(checkpoint, classes, cfg.load_from)
    try_model(detector, walk.samples, has_weights=True)
    check_work_dir(cfg.work_dir)
    draw_names_as_written(name for names in classes.values() for name in names)
    return walk


def run(cfg: Config, args: argparse.Namespace) -> None:
    draw_names_as_written()
    runner = build_runner(cfg, RUNNERS.build if "runner_type" in cfg else QuietRunner.from_cfg)
    runner.register_hook(GroundTruthIdsHook())
    if args.out is not None:
        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=args.out))
    runner.test()
