"""Which trainings a study consists of."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ghm_mmdet.config import drop_idle_deletes, load_config
from ghm_mmdet.errors import UserError
from ghm_mmdet.experiments.study.results import best_setting, read_results
from ghm_mmdet.experiments.study.scenes import use_scenes
from ghm_mmdet.experiments.study.study_config import load_study_config


@dataclass(frozen=True)
class Setting:
    """What the search varies: the learning rate, and a factor on the weight of the classification loss."""

    lr: float
    loss_weight: float

    def __str__(self) -> str:
        return f"lr {self.lr:g}, loss weight x {self.loss_weight:g}"


@dataclass(frozen=True)
class Run:
    """One training: a method, a share of damaged labels, a seed, a setting, and the name of the scenes it is run on.

    A setting of ``None`` is that of the method's config, scenes of ``None`` are the config's own data.
    """

    study: str
    method: str
    noise: float
    seed: int
    setting: Setting | None
    scenes: str | None
    config: Config = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        setting = "" if self.setting is None else f"_lr{self.setting.lr:g}_weight{self.setting.loss_weight:g}"
        method, *scenes = (
            "".join(letter if letter.isalnum() else "-" for letter in name)
            for name in (self.method, self.scenes)
            if name is not None
        )
        return "_".join((method, *scenes, f"noise{self.noise:g}", f"seed{self.seed}{setting}"))

    @property
    def config_hash(self) -> str:
        """Of everything that the result depends on; where the data lies is none of it."""
        content = {key: value for key, value in self.config.to_dict().items() if key not in ("work_dir", "launcher")}
        text = json.dumps(content, sort_keys=True, default=str)
        for root in {value for key, value in _entries(content) if key == "data_root" and value}:
            text = text.replace(json.dumps(root)[1:-1], "")
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_study(path: str | Path, results: Path) -> tuple[Config, list[Run]]:
    """Reads a study's config and lists its runs, those of one seed together.

    A study's config has

    - ``methods``: by name, a config of this repository (below ``configs/``), or a dict with ``config``, ``options`` and
      ``ranks``, the number of processes that one training of it runs on, else 1;
    - ``seeds``, and ``noise``, shares of damaged training labels (:class:`ghm_mmdet.transforms.DamageLabels`), with
      ``damage``, its further arguments;
    - ``scenes``: by name, digits to make and to train and test on, each a dict with the options of
      tools/make_digits.py; the configs are those of digits (:func:`ghm_mmdet.experiments.study.scenes.use_scenes`);
    - ``options``: changes to all the configs, as in ``--cfg-options``;
    - ``search``: ``lr`` and ``loss_weight``, lists that make a grid; each method runs in every setting. The loss weight
      is a factor on that of the method's classification loss;
    - or ``tuned_by``: the name of a finished search, of which each method takes its own best setting, or that of the
      method which it names as ``tuned_as``; with ``tuned_as=None`` it keeps that of its options;
    - ``reference``: the method that the report compares the others with, or several, else the first; ``title``.

    Raises:
        UserError: the config is missing, unreadable or wrong, does not fit those of the methods, or the search that it
            is tuned by is not finished.
    """
    path = Path(path).absolute()
    study = load_study_config(path)
    tuned_by, search = study.get("tuned_by"), study.get("search")
    tuning = _finished(path.with_name(f"{tuned_by}.py"), results) if tuned_by else []
    settings = [Setting(*pair) for pair in product(search["lr"], search["loss_weight"])] if search else [None]
    runs = []
    axes = (study.get("noise") or [0.0], study.get("seeds") or [0], study.get("scenes") or [None], study.methods)
    for noise, seed, scenes, method in product(*axes):
        entry = study.methods[method]
        tuned_as = entry.get("tuned_as", method) if isinstance(entry, dict) else method
        tuned = tuned_by and tuned_as is not None
        for setting in [_best(tuning, tuned_by, tuned_as)] if tuned else settings:
            config = _config(path, study, method, noise, seed, setting, scenes)
            runs.append(Run(path.stem, method, float(noise), seed, setting, scenes, config))
    return study, runs


def _finished(search: Path, results: Path) -> list[dict]:
    """The rows of a search; UserError while some are missing."""
    _, runs = load_study(search, results)
    wanted = {run.config_hash for run in runs}
    rows = [row for row in read_results(results / f"{search.stem}.jsonl") if row["config_hash"] in wanted]
    missing = len(wanted) - len({row["config_hash"] for row in rows})
    if missing:
        raise UserError(
            f"{missing} of the {len(wanted)} runs of the search {search.stem} are missing.\n"
            f"Run it first: python tools/study.py {search}"
        )
    return rows


def _best(tuning: list[dict], tuned_by: str, method: str) -> Setting:
    best = best_setting(tuning, method)
    if best is None:
        raise UserError(f"the search {tuned_by} has no method {method!r} to tune by.")
    return Setting(**best)


def _config(
    path: Path, study: Config, method: str, noise: float, seed: int, setting: Setting | None, scenes: str | None
) -> Config:
    entry = study.methods[method]
    entry = {"config": entry} if isinstance(entry, str) else entry
    config = copy.deepcopy(_loaded(path.parents[1] / entry["config"]))
    options = {**(study.get("options") or {}), **entry.get("options", {}), "randomness.seed": seed}
    # Copied one by one, since merging takes the ``_delete_`` out of what it merges.
    options = {name: copy.deepcopy(value) for name, value in options.items()}
    try:
        config.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path.absolute()}: the options of {method!r} do not fit {config.filename}: {error}"
        ) from error
    drop_idle_deletes(config._cfg_dict)
    if entry.get("ranks", 1) > 1:
        config.ranks = entry["ranks"]
    needs = {"scenes": scenes is not None, "search": setting is not None, "noise": bool(noise)}
    # Scenes fit a two-stage detector as well.
    heads = {"bbox_head", "roi_head"} if scenes is not None and setting is None and not noise else {"bbox_head"}
    if not heads & set(config.model) and any(needs.values()):
        asking = " and ".join(name for name, asked in needs.items() if asked)
        having = " or a ".join(sorted(heads))
        raise UserError(f"{path.absolute()}: {asking} fits detectors with a {having}; {config.filename} has none.")
    if scenes is not None:
        use_scenes(config, study.scenes[scenes])
    if setting is not None:
        config.optim_wrapper.optimizer.lr = setting.lr
        loss = config.model.bbox_head.loss_cls
        loss.loss_weight = loss.get("loss_weight", 1.0) * setting.loss_weight
    if noise:
        _damage_labels(config, noise, seed, study.get("damage") or {})
    return config


@functools.cache
def _loaded(path: Path) -> Config:
    return load_config(str(path), [], work_dir=None, launcher="none")


def _damage_labels(config: Config, share: float, seed: int, further: dict) -> None:
    num_classes = config.model.bbox_head.num_classes
    damage = dict(type="ghm_mmdet.DamageLabels", share=share, num_classes=num_classes, seed=seed, **further)
    pipelines = [value for key, value in _entries(config.train_dataloader) if key == "pipeline"]
    for pipeline in pipelines:
        place = [step["type"] for step in pipeline].index("LoadAnnotations")
        pipeline.insert(place + 1, damage)


def _entries(value: object) -> Iterator[tuple[str, Any]]:
    """All keys and values of nested dicts and lists."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _entries(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _entries(inner)
