"""Run studies, or report on all of them.

A study trains a grid of configs, seeds and shares of damaged labels, each run in a process of its own. Results go to
results/NAME.jsonl, one line a run; what stands there already is not run again, so that a study that was killed goes on
where it was, and what stands in the file of another study is taken over. --report rewrites the tables and figures of
docs/results.md from these files alone.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ghm_mmdet.cli.arguments import positive_int
from ghm_mmdet.cli.paths import ROOT
from ghm_mmdet.errors import UserError, other_than_file, require_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("configs", nargs="*", metavar="CONFIG", help="configs of studies, run one after the other")
    parser.add_argument("--report", action="store_true", help="rewrite tables and figures of docs/results.md")
    parser.add_argument("--jobs", type=positive_int, default=1, metavar="N", help="runs at the same time (default: 1)")
    parser.add_argument(
        "--threads", type=positive_int, metavar="N", help="CPU threads of a run (default: cores / jobs)"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of the result files")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/studies"), help="folder of logs")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of results.md, for --report")


@contextmanager
def only_one(results: Path) -> Iterator[int]:
    """Keeps a second process from running the same study; yields the lock's file descriptor.

    A training inherits it, so that one which outlives a killed study holds the lock until it ends.
    """
    results.parent.mkdir(parents=True, exist_ok=True)
    with open(results.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"another study command, or a training that it left behind, is at work on {results.absolute()}\n"
                "Wait for it to end, or end it."
            ) from error
        yield lock.fileno()


def run_study(args: argparse.Namespace, path: str) -> None:
    from rich.console import Console
    from rich.progress import (
        Progress,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from ghm_mmdet.data_check.preflight import check_data, enter_default_scope
    from ghm_mmdet.experiments.study.grid import load_study
    from ghm_mmdet.experiments.study.one_run import train
    from ghm_mmdet.experiments.study.results import append_result, read_results
    from ghm_mmdet.experiments.study.scenes import make_scenes, moved

    _, runs = load_study(path, args.results)
    results = args.results / f"{Path(path).stem}.jsonl"
    # Bound to the file itself: while a thread evaluates, sys.stdout is redirected, and a line would be lost.
    console = Console(file=sys.stdout, highlight=False, markup=False)
    if other := other_than_file(results):
        raise UserError(f"{results.absolute()} is {other}, a file is expected\nName another --results.")
    with only_one(results) as lock:
        done = {row["config_hash"] for row in read_results(results)}
        for run, row in taken_over([run for run in runs if run.config_hash not in done], args.results):
            append_result(results, row)
            done.add(run.config_hash)
        wanted = [run for run in runs if run.config_hash not in done]
        console.print(f"{Path(path).stem}: {len(runs)} runs, {len(runs) - len(wanted)} done before", soft_wrap=True)
        made: dict[str | None, Any] = {}
        for run in {run.scenes: run for run in wanted}.values():
            enter_default_scope(run.config)
            if run.scenes is not None:
                console.print(f"{run.scenes}: making or finding its scenes", soft_wrap=True)
                made[run.scenes] = make_scenes(run.config, args.work_dir / "scenes")
            config = moved(run.config, made[run.scenes].path) if run.scenes in made else run.config
            check_data(config, ("train", "val"))
        threads = args.threads or max(1, (os.cpu_count() or 1) // args.jobs)
        columns: tuple = (*Progress.get_default_columns()[:3], TimeElapsedColumn(), "left", TimeRemainingColumn())
        progress = Progress(*columns, console=console)
        with progress, ThreadPoolExecutor(args.jobs) as pool:
            task = progress.add_task(Path(path).stem, total=len(wanted))
            futures = {
                pool.submit(train, run, args.work_dir / run.study / run.name, threads, lock, made.get(run.scenes)): run
                for run in wanted
            }
            try:
                for future in as_completed(futures):
                    row = future.result()
                    append_result(results, row)
                    progress.advance(task)
                    progress.console.print(f"{futures[future].name}: {summary(row)}", soft_wrap=True)
            except BaseException:
                pool.shutdown(cancel_futures=True, wait=False)
                raise
    console.print(f"{Path(path).stem}: results in {results}", soft_wrap=True)


def taken_over(runs: list, folder: Path) -> Iterator[tuple]:
    """Runs that another study has made already, with their rows: the same config gives the same result."""
    from ghm_mmdet.experiments.study.results import read_results

    rows = {row["config_hash"]: row for path in sorted(folder.glob("*.jsonl")) for row in read_results(path)}
    for run in runs:
        if run.config_hash in rows:
            setting = None if run.setting is None else vars(run.setting)
            named = {"study": run.study, "method": run.method, "setting": setting}
            scenes = {} if run.scenes is None else {"scenes": run.scenes}
            yield run, {**rows[run.config_hash], **named, **scenes}


def summary(row: dict) -> str:
    if "error" in row:
        return f"broke off: {row['error']}"
    return f"mAP {row['ap']['mAP']:.3f}, AP50 {row['ap']['AP50']:.3f}, {row['seconds']:.0f} s"


def run(args: argparse.Namespace) -> None:
    if bool(args.configs) == args.report:
        raise UserError("give configs of studies to run, or --report (--help explains)")
    for path in args.configs:
        require_file(path, "config")

    from ghm_mmdet.cli.environment import check_stack

    check_stack()
    if args.report:
        from ghm_mmdet.experiments.study.results_page import write_report

        for path in write_report(ROOT / "configs" / "studies", args.results, args.docs):
            print(f"written: {path}")
        return
    for path in args.configs:
        run_study(args, path)
