"""The steps of the command report."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from mmengine.logging import MMLogger

from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints, force_weights_only
from ghm_mmdet.cli.progress import track
from ghm_mmdet.data_check.preflight import check_data, check_work_dir, enter_default_scope
from ghm_mmdet.errors import UserError, print_notice
from ghm_mmdet.gradient_norms.log import FILE_NAME, Record, read_records
from ghm_mmdet.report.evaluation import evaluate
from ghm_mmdet.report.ground_truth import read_ground_truth
from ghm_mmdet.report.history import read_history
from ghm_mmdet.report.page import Run, render, short_names
from ghm_mmdet.report.predictions import predict
from ghm_mmdet.report.work_dir import WorkDir, open_work_dir


def prepare(args: argparse.Namespace) -> list[WorkDir]:
    """Looks at all work_dirs and their data before anything is computed or written."""
    force_weights_only()
    allow_mmengine_checkpoints()
    MMLogger.get_current_instance().setLevel("ERROR")
    if args.out.is_dir():
        raise UserError(f"--out is a folder, a file is expected: {args.out.absolute()}")
    resolved = [Path(folder).expanduser().resolve() for folder in args.work_dirs]
    twice = next((folder for folder in resolved if resolved.count(folder) > 1), None)
    if twice is not None:
        raise UserError(f"work_dir given twice: {twice}")
    work_dirs = [open_work_dir(folder, args.cfg_options, args.split) for folder in args.work_dirs]
    for work_dir in work_dirs:
        enter_default_scope(work_dir.cfg)
        check_data(work_dir.cfg, (args.split,))
    check_work_dir(str(args.out.absolute().parent), "--out")
    return work_dirs


def run(work_dirs: list[WorkDir], args: argparse.Namespace) -> None:
    """Tests each run, or takes its kept detections, and writes the page."""
    runs = []
    for number, (work_dir, name) in enumerate(zip(work_dirs, short_names([w.path for w in work_dirs]))):
        enter_default_scope(work_dir.cfg)
        truth, data_set = read_ground_truth(work_dir.cfg, args.split, args.images)
        detections = predict(work_dir, args.split, truth, data_set, args.device, partial(track, what=name))
        evaluation = evaluate(truth, detections, args.score_thr)
        history, norms = read_history(work_dir.path), _last_gradient_norms(work_dir.path)
        runs.append(Run(number, name, work_dir, truth, evaluation, history, norms))
        ap = evaluation.statistics["mAP"]
        print(f"{name}: {work_dir.checkpoint_path.name}, AP {'-' if ap is None else f'{ap:.3f}'}")
    args.out.write_text(render(runs, args.split, args.command_line), encoding="utf-8")
    print(f"written: {args.out}")


def _last_gradient_norms(folder: Path) -> Record | None:
    if not (folder / FILE_NAME).is_file():
        return None
    try:
        return read_records(folder)[0][-1]
    except UserError as error:
        print_notice(f"gradient norms left out: {str(error).splitlines()[0]}")
        return None
