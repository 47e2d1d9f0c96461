"""Reading a config and what the command line changes in it."""

from __future__ import annotations

import argparse
import inspect
import linecache
import math
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.config.config import DELETE_KEY
from mmengine.registry import Registry
from mmengine.runner import Runner

from ghm_mmdet.errors import UserError, described, explain, nearest, other_than_file

# What mmengine, mmdet and this package read of a config.
READ = {
    *(set(inspect.signature(Runner).parameters) - {"cfg"}),
    *("activation_checkpointing", "auto_scale_lr", "compile", "custom_imports", "efficient_conv_bn_eval", "env_cfg"),
    *("find_unused_parameters", "model_wrapper_cfg", "runner_type", "sync_bn", "tta_model", "tta_pipeline"),
}
# Names that configs of mmdet use for their own values, and what a study adds.
VARIABLES = {
    *("test_pipeline", "val_pipeline", "train_pipeline", "max_epochs", "max_iters", "num_epochs", "ranks"),
    *("conv_cfg", "norm_cfg", "act_cfg", "tta_cfg"),
}
# Entries that are dictionaries, where an option such as train_cfg=3 makes something else of them.
DICTIONARIES = (
    *("model", "optim_wrapper", "default_hooks", "visualizer", "log_processor", "env_cfg", "randomness"),
    *(f"{phase}_{part}" for phase in ("train", "val", "test") for part in ("cfg", "dataloader")),
)
SCOPE_HINT = (
    "Anchor heads of ghm_mmdet have density_scope, e.g. type='ghm_mmdet.RetinaHead'; heads without anchors do without."
)


def load_config(path: str, options: list[str], *, work_dir: str | None, launcher: str) -> Config:
    """Reads the config and applies `--cfg-options`, `--work-dir` and `--launcher`.

    The work_dir is the one of the command line, else the config's, else `work_dirs/<name of the config file>`.
    """
    where = Path(path).expanduser().absolute()
    _refuse_circular_bases(str(where), ())
    try:
        cfg = Config.fromfile(str(where))
    except Exception as error:
        # A config is a program of the user's: whatever it raises is for the user to see.
        raise UserError(f"cannot read the config {where}\n{_reason(error)}") from error
    changes = parse_options(options)
    _check_top_level({key.partition(".")[0] for key in changes} - set(cfg), where, cutoff=0.7)
    _check_top_level(set(cfg), where, cutoff=0.8)
    try:
        cfg.merge_from_dict(changes)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"--cfg-options does not fit the config {where}\n{_reason(error)}") from error
    for name in READ:
        # Not in a study's options, which are merged later.
        drop_idle_deletes(cfg._cfg_dict.get(name))
    nan = _find_nan(cfg._cfg_dict)
    if nan:
        raise UserError(f"{nan} is NaN, with which nothing can be compared or learned, in the config {where}")
    for name in DICTIONARIES:
        if cfg.get(name) is not None and not isinstance(cfg[name], dict):
            raise UserError(f"{name} is {cfg[name]!r}, not a dictionary, in the config {where}")
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(Path("work_dirs") / where.stem)
    return cfg


def drop_idle_deletes(node: Any) -> None:
    """Takes out every ``_delete_`` that found nothing to delete; mmengine leaves it, as an argument, in what is new."""
    if isinstance(node, dict):
        node.pop(DELETE_KEY, None)
    # Not the values of a ConfigDict, which imports what it names.
    for value in dict.values(node) if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        drop_idle_deletes(value)


def _find_nan(node: Any, place: str = "") -> str:
    """The place of the first NaN in a config, or nothing."""
    if isinstance(node, float):
        return place if math.isnan(node) else ""
    items = dict.items(node) if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    return next(filter(None, (_find_nan(inner, f"{place}.{key}".lstrip(".")) for key, inner in items)), "")


def require_parts(cfg: Config, *names: str) -> None:
    missing = [name for name in names if cfg.get(name) is None]
    if missing:
        raise UserError(f"the config defines no {', '.join(missing)}: {cfg.filename}\nInherit a complete config.")


def leaves(data_set: Any, place: str) -> Iterator[tuple[str, dict]]:
    """Unwraps RepeatDataset, ConcatDataset, MultiImageMixDataset and the like down to the data sets with files."""
    if not isinstance(data_set, dict):
        raise UserError(f"{place} is {data_set!r}, not a dictionary that describes a data set")
    if "dataset" in data_set:
        yield from leaves(data_set["dataset"], f"{place}.dataset")
    elif "datasets" in data_set:
        for index, inner in enumerate(data_set["datasets"]):
            yield from leaves(inner, f"{place}.datasets.{index}")
    else:
        yield place, data_set


def evaluators_of(cfg: Config, phase: str) -> Iterator[tuple[str, Any]]:
    """The metrics of a phase, each with its place in the config."""
    place = f"{phase}_evaluator"
    entry = cfg.get(place) or []
    if isinstance(entry, dict) and "metrics" in entry:
        place, entry = f"{place}.metrics", entry["metrics"]
    if isinstance(entry, (dict, str)):
        yield place, entry
        return
    for index, inner in enumerate(entry):
        yield f"{place}.{index}", inner


def evaluates_masks(evaluator: dict) -> bool:
    return "segm" in (evaluator.get("metric") or ())


def _check_top_level(names: set[str], where: Path, cutoff: float) -> None:
    """Raises UserError for a name that nothing reads and that is spelt almost like one that something does."""
    for name in sorted(names - READ - VARIABLES):
        # Configs have pipelines of all kinds of names.
        hint = nearest(name, READ - {"tta_pipeline"}, cutoff)
        if hint and not any(name.startswith(f"{known}_") for known in READ):
            raise UserError(f"nothing reads the entry {name!r} of the config {where}\n{hint}")


def _refuse_circular_bases(path: str, above: tuple[str, ...]) -> None:
    """Raises UserError when `_base_` comes back to a config; mmengine would go round until Python gives up."""
    path = os.path.realpath(path)
    if other := other_than_file(path):
        raise UserError(f"config is {other}, a file is expected: {path}")
    if path in above:
        circle = " -> ".join(os.path.basename(config) for config in (*above[above.index(path) :], path))
        raise UserError(f"the _base_ entries of {path} go round in a circle: {circle}\nTake one of them out.")
    try:
        # mmdet's own configs come back to none of the user's, and mmengine reads a hundred files to find one.
        own = [base for base in Config._get_base_files(path) if "::" not in base]
        bases = [Config._get_cfg_path(base, path)[0] for base in own]
    except Exception:
        # Reading the config says what is wrong with it.
        return
    for base in bases:
        _refuse_circular_bases(base, (*above, path))


def build_part(registry: Registry, part: dict, place: str) -> Any:
    """Builds what a config entry describes; a mistake in its arguments is a UserError that names the entry."""
    try:
        return registry.build(part)
    except UserError:
        raise
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = explain(error) or _refusal_of_head(error) or described(error)
        if "unexpected keyword argument 'density_scope'" in reason:
            reason += f"\n{SCOPE_HINT}"
        raise UserError(f"{place}: {reason}") from error


def _refusal_of_head(error: Exception) -> str | None:
    """Plain words for a head that cannot do with the loss that the config gives it, else None."""
    no_such = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(loss_(?:cls|bbox))'", str(error))
    if no_such:
        return f"{no_such[1]} takes no {no_such[2]}: its losses are fixed. Keep them, or take ghm_mmdet.RetinaHead."
    for frame, number in traceback.walk_tb(error.__traceback__):
        line = linecache.getline(frame.f_code.co_filename, number)
        head = type(frame.f_locals.get("self")).__name__
        read = re.search(r"\b(loss_\w+)\.(\w+)", line)
        if isinstance(error, AttributeError) and read and f"no attribute {read[2]!r}" in str(error):
            return f"{head} reads {read[2]} of its {read[1]}, which this loss does not have. Keep {head}'s own."
        of_a_class = re.search(r"assert isinstance\(.*\b(loss_\w+), (\w+)\)", line)
        if isinstance(error, AssertionError) and of_a_class:
            return f"{head} takes no {of_a_class[1]} but {of_a_class[2]}. Keep {head}'s own."
    return None


def parse_options(options: list[str]) -> dict:
    """Turns KEY=VALUE strings into values the way mmengine does."""
    for option in options:
        key, equals, _ = option.partition("=")
        if not equals or not key or any(not part for part in key.split(".")):
            raise UserError(f"--cfg-options: {option!r} is not of the form key=value or key.subkey=value (no spaces).")
        if "={" in option:
            raise UserError(
                f"--cfg-options takes no dictionary: {option}\nWrite each of its entries, {key}.subkey=value."
            )
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, default={})
    try:
        return parser.parse_args(["--cfg-options", *options]).cfg_options if options else {}
    except AssertionError as error:
        raise UserError(f"--cfg-options: {error}.") from error


def _reason(error: Exception) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    lines = str(text).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
