"""The steps of the command train."""

from __future__ import annotations

import argparse
import copy
import logging
import os

from mmdet.registry import MODELS, RUNNERS
from mmengine.config import Config
from mmengine.dist import broadcast_object_list

from ghm_mmdet.checkpoint.lock import lock_work_dir, remove_partial_files
from ghm_mmdet.checkpoint.resuming import (
    RepeatableEpochHook,
    check_iterations,
    check_optimizer_resumes,
    checkpoint_files,
    newest_whole_checkpoint,
    protect_checkpoints,
    say_whose_schedule,
)
from ghm_mmdet.checkpoint.safe_loading import (
    SAME_CONFIG,
    allow_mmengine_checkpoints,
    check_resumable,
    force_weights_only,
    load_weights,
    read_checkpoint,
)
from ghm_mmdet.cli.amp import set_amp_optim_wrapper
from ghm_mmdet.cli.config_parts import build_optimizer, build_runner, check_parts, check_schedulers
from ghm_mmdet.cli.drawn_text import draw_names_as_written
from ghm_mmdet.cli.learning_rate import enable_auto_scale, warn_about_batch_size
from ghm_mmdet.cli.quiet_runner import QuietRunner
from ghm_mmdet.cli.signals import stopped_by_signals
from ghm_mmdet.config import build_part, load_config, require_parts
from ghm_mmdet.data_check.model_keys import check_model_keys
from ghm_mmdet.data_check.model_trial import try_model
from ghm_mmdet.data_check.preflight import (
    check_classes,
    check_data,
    check_logits,
    check_masks,
    check_pretrained,
    check_trained_classes,
    check_work_dir,
    enter_default_scope,
)
from ghm_mmdet.data_check.walk import Walk
from ghm_mmdet.hooks.finite_loss_hook import FiniteLossHook
from ghm_mmdet.hooks.ground_truth_ids_hook import GroundTruthIdsHook


def prepare(args: argparse.Namespace) -> Config:
    """Reads the config and works the command line into it; writes nothing."""
    force_weights_only()
    allow_mmengine_checkpoints()
    cfg = load_config(args.config, args.cfg_options, work_dir=args.work_dir, launcher=args.launcher)
    require_parts(cfg, "model", "train_dataloader", "train_cfg", "optim_wrapper")
    set_amp_optim_wrapper(cfg, amp=args.amp)
    if args.auto_scale_lr:
        enable_auto_scale(cfg)
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == "auto" else args.resume
    return cfg


def preflight(cfg: Config, *, partial: bool) -> Walk:
    """Checks data, model and checkpoint, creates the work_dir, and puts into `cfg` what `--resume` continues from.

    Returns what the data hold.
    """
    enter_default_scope(cfg)
    check_parts(cfg, ("train", "val"))
    check_iterations(cfg, None)
    walk = check_data(cfg, ("train", "val"))
    classes = walk.classes
    model = build_part(MODELS, copy.deepcopy(cfg.model), "model")
    check_model_keys(cfg.model, model)
    check_classes(model, classes)
    check_logits(model)
    check_masks(cfg, ("val",), model)
    optim_wrapper = build_optimizer(cfg, model)
    if cfg.get("resume"):
        found = _read_resumable(cfg.load_from) if cfg.load_from else newest_whole_checkpoint(cfg)
        cfg.resume = found is not None
        cfg.load_from, checkpoint = found or (None, None)
        _go_on_with_seed(cfg, checkpoint)
    else:
        checkpoint = read_checkpoint(cfg.load_from) if cfg.get("load_from") else None
    if checkpoint is not None:
        partial = partial and not cfg.resume
        advice = SAME_CONFIG if cfg.resume else f"{SAME_CONFIG} To fine-tune with other classes: --allow-partial-load"
        load_weights(model, checkpoint, cfg.load_from, partial=partial, advice=advice)
        check_trained_classes(checkpoint, classes, cfg.load_from)
    if checkpoint is not None and cfg.resume:
        check_iterations(cfg, checkpoint)
        if optim_wrapper is not None:
            check_optimizer_resumes(optim_wrapper, checkpoint, cfg.load_from)
    if optim_wrapper is not None:
        schedulers = check_schedulers(cfg, optim_wrapper)
        if checkpoint is not None and cfg.resume:
            say_whose_schedule(schedulers, checkpoint)
    try_model(model, walk.samples, has_weights=checkpoint is not None and not partial)
    check_pretrained(cfg.model)
    check_work_dir(cfg.work_dir)
    if int(os.environ.get("RANK", 0)) == 0:
        lock_work_dir(cfg.work_dir)
        remove_partial_files(checkpoint_files(cfg)[0])
    return walk


def _read_resumable(path: str) -> tuple[str, dict]:
    checkpoint = read_checkpoint(path)
    check_resumable(checkpoint, path)
    return path, checkpoint


def _go_on_with_seed(cfg: Config, checkpoint: dict | None) -> None:
    """Without a seed in the config the run drew one; mmengine takes it up again, but too late for the data's order."""
    seed = (checkpoint or {}).get("meta", {}).get("seed")
    randomness = dict(cfg.get("randomness") or {})
    if randomness.get("seed") is None and isinstance(seed, int):
        cfg.randomness = {**randomness, "seed": seed}


def share_checkpoint_choice(cfg: Config) -> None:
    """Makes all ranks continue from the checkpoint that the first rank chose, with its seed."""
    choice = [cfg.get("resume", False), cfg.get("load_from"), dict(cfg.get("randomness") or {})]
    broadcast_object_list(choice)
    cfg.resume, cfg.load_from, randomness = choice
    if randomness:
        cfg.randomness = randomness


def run(cfg: Config) -> None:
    # On a full disk the logger would print a traceback for each line of the log.
    logging.raiseExceptions = False
    draw_names_as_written()
    with stopped_by_signals(lambda: _where_to_go_on(cfg)):
        runner = build_runner(cfg, RUNNERS.build if "runner_type" in cfg else QuietRunner.from_cfg)
        protect_checkpoints(runner)
        runner.register_hook(RepeatableEpochHook())
        runner.register_hook(GroundTruthIdsHook())
        if not any(isinstance(hook, FiniteLossHook) for hook in runner.hooks):
            runner.register_hook(FiniteLossHook())
        warn_about_batch_size(runner)
        runner.train()


def _where_to_go_on(cfg: Config) -> str:
    folder, files = checkpoint_files(cfg)
    if not files:
        return f"There is no checkpoint yet in {folder.absolute()}."
    return f"The newest checkpoint is {files[0].absolute()}; go on with --resume."
