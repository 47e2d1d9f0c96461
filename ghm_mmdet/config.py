"""Reading a config and what the command line changes in it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from ghm_mmdet.errors import UserError


def load_config(path: str, options: list[str], *, work_dir: str | None, launcher: str) -> Config:
    """Reads the config and applies `--cfg-options`, `--work-dir` and `--launcher`.

    The work_dir is the one of the command line, else the config's, else `work_dirs/<name of the config file>`.
    """
    where = Path(path).expanduser().absolute()
    try:
        cfg = Config.fromfile(str(where))
    except Exception as error:
        # A config is a program of the user's: whatever it raises is for the user to see.
        raise UserError(f"cannot read the config {where}\n{_reason(error)}") from error
    changes = parse_options(options)
    try:
        cfg.merge_from_dict(changes)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"--cfg-options does not fit the config {where}\n{_reason(error)}") from error
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(Path("work_dirs") / where.stem)
    return cfg


def require_parts(cfg: Config, *names: str) -> None:
    missing = [name for name in names if cfg.get(name) is None]
    if missing:
        raise UserError(f"the config defines no {', '.join(missing)}: {cfg.filename}\nInherit a complete config.")


def leaves(data_set: Any, place: str) -> Iterator[tuple[str, dict]]:
    """Unwraps RepeatDataset, ConcatDataset, MultiImageMixDataset and the like down to the data sets with files."""
    if "dataset" in data_set:
        yield from leaves(data_set["dataset"], f"{place}.dataset")
    elif "datasets" in data_set:
        for index, inner in enumerate(data_set["datasets"]):
            yield from leaves(inner, f"{place}.datasets.{index}")
    else:
        yield place, data_set


def parse_options(options: list[str]) -> dict:
    """Turns KEY=VALUE strings into values the way mmengine does."""
    for option in options:
        key, equals, _ = option.partition("=")
        if not equals or not key or any(not part for part in key.split(".")):
            raise UserError(f"--cfg-options: {option!r} is not of the form key=value or key.subkey=value (no spaces).")
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    try:
        return parser.parse_args(["--cfg-options", *options]).cfg_options if options else {}
    except AssertionError as error:
        raise UserError(f"--cfg-options: {error}.") from error


def _reason(error: Exception) -> str:
    lines = str(error).strip("'\"").splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
