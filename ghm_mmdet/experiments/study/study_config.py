"""The config of a study, read and looked over before anything is trained or reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ghm_mmdet.config import load_config
from ghm_mmdet.errors import UserError


def _numbers(least: float, most: float = float("inf"), whole: bool = False) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        is_number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        return is_number and least <= value <= most

    return lambda values: isinstance(values, (list, tuple)) and bool(values) and all(map(fits, values))


def _is_search(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"lr", "loss_weight"} and all(map(_numbers(0), value.values()))


def _is_method(value: Any) -> bool:
    if not isinstance(value, dict):
        return isinstance(value, str)
    ranks = _numbers(1, whole=True)([value.get("ranks", 1)])
    options = isinstance(value.get("options", {}), dict)
    return ranks and options and "config" in value and set(value) <= {"config", "options", "tuned_as", "ranks"}


def _are_methods(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(map(_is_method, value.values()))


def _are_scenes(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(scenes, dict)
        and _numbers(1, 10, whole=True)([scenes.get("num_classes")])
        and _numbers(1, whole=True)(scenes.get("image_size"))
        and len(scenes["image_size"]) == 2
        for scenes in value.values()
    )


def _is_a(kind: type | tuple) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


# Each entry, whether a value fits, and what does.
ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "title": (_is_a(str), "a string"),
    "methods": (_are_methods, "by name a config, or a dict with config and, if need be, options, tuned_as and ranks"),
    "seeds": (_numbers(0, 2**31 - 1, whole=True), "a list of integers of at least 0"),
    "noise": (_numbers(0, 1), "a list of shares in [0, 1]"),
    "damage": (_is_a(dict), "a dict of arguments of DamageLabels"),
    "scenes": (
        _are_scenes,
        "by name a dict with image_size (two numbers), num_classes (1 to 10) and options of ghm-mmdet digits",
    ),
    "options": (_is_a(dict), "a dict of changes to all configs"),
    "search": (_is_search, "a dict of two lists of numbers, lr and loss_weight"),
    "tuned_by": (_is_a(str), "the name of a search"),
    "reference": (_is_a((str, list, tuple)), "the name of a method, or a list of them"),
}


def load_study_config(path: Path) -> Config:
    """Reads a study's config; its entries are those of :func:`ghm_mmdet.experiments.study.grid.load_study`.

    Raises:
        UserError: it is missing or unreadable, or an entry is missing, unknown or not what it must be.
    """
    study = load_config(str(path), [], work_dir=None, launcher="none")
    where = path.absolute()
    unknown = set(study.to_dict()) - set(ENTRIES) - {"launcher", "work_dir"}
    if unknown or not study.get("methods"):
        wrong = f"has no use for {', '.join(sorted(unknown))}" if unknown else "defines no methods"
        raise UserError(f"{where} {wrong}; a study has the entries {', '.join(sorted(ENTRIES))}.")
    for name, (fits, expected) in ENTRIES.items():
        # None takes back what a base has.
        if study.get(name) is not None and not fits(study[name]):
            raise UserError(f"{where}: {name} must be {expected}, got {study[name]!r}")
    for name in ("seeds", "noise"):
        if len(set(study.get(name) or [])) < len(study.get(name) or []):
            raise UserError(f"{where}: {name} names one twice: {study[name]!r}")
    if study.get("search") and study.get("tuned_by"):
        raise UserError(f"{where}: a study searches (search) or is tuned by a search (tuned_by), not both.")
    missing = [name for name in references(study) if name not in study.methods]
    if missing:
        raise UserError(
            f"{where}: reference names {', '.join(map(repr, missing))}, which is none of the methods "
            f"{', '.join(study.methods)}"
        )
    return study


def references(study: Config) -> list[str]:
    """The methods that the others are compared with: those the study names, or its first."""
    reference = study.get("reference")
    if reference is None:
        return list(study.methods)[:1]
    return [reference] if isinstance(reference, str) else list(reference)
