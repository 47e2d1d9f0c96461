"""The parts of a run outside its model and data, looked at before it starts: types, arguments, what they build.

mmengine builds them one by one as the run comes to them, the checkpoint hook's arguments after a whole epoch.
"""

from __future__ import annotations

import copy
import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy
import torch
from mmdet import registry as registries
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper, build_optim_wrapper
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from ghm_mmdet.config import evaluators_of
from ghm_mmdet.errors import TYPE_HINT, UserError, in_words, nearest

# What the visualizer's backends import when the run starts.
BACKEND_PACKAGES = {
    "TensorboardVisBackend": "tensorboard",
    "WandbVisBackend": "wandb",
    "MLflowVisBackend": "mlflow",
    "ClearMLVisBackend": "clearml",
    "NeptuneVisBackend": "neptune",
    "DVCLiveVisBackend": "dvclive",
    "AimVisBackend": "aim",
}
# Read by Runner.build_dataloader and not by DataLoader.
LOADER_ENTRIES = {
    *("dataset", "sampler", "batch_sampler", "collate_fn", "worker_init_fn"),
    *("num_batch_per_epoch", "disable_subprocess_warning"),
}
PARAMWISE = {
    *("custom_keys", "bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "flat_decay_mult", "dwconv_decay_mult"),
    *("dcn_offset_lr_mult", "bypass_duplicate"),
}
# What a wrong argument raises; anything else may be due to what only the run itself has.
MISTAKES = (TypeError, ValueError, AssertionError, KeyError, ImportError, AttributeError)


@dataclass(frozen=True)
class Part:
    """An entry of the config that describes an object.

    extra: keys of the entry that the runner takes out before it builds.
    default: the type where the entry names none.
    """

    place: str
    entry: Any
    registry: Registry
    extra: tuple[str, ...] = ()
    default: str | None = None


def check_parts(cfg: Config, phases: tuple[str, ...]) -> None:
    """Raises UserError for a type or an argument that does not exist, or that its object refuses.

    Args:
        cfg: the config.
        phases: of "train", "val", "test".
    """
    for part in _parts(cfg, phases):
        _check_part(cfg, part)
    for phase in phases:
        loader = cfg.get(f"{phase}_dataloader")
        if loader is not None:
            _check_loader(cfg, f"{phase}_dataloader", loader)
    sampler = ((cfg.get("train_dataloader") or {}).get("sampler") or {}).get("type")
    if "train" in phases and "max_epochs" in cfg.train_cfg and "Infinite" in str(sampler):
        raise UserError(
            f"train_dataloader.sampler: an epoch of {sampler} has no end, but train_cfg counts them: {cfg.filename}\n"
            "Take DefaultSampler, or an IterBasedTrainLoop with max_iters."
        )
    for place, entry, known in (
        ("randomness", cfg.get("randomness"), set(inspect.signature(Runner.set_randomness).parameters)),
        ("env_cfg", cfg.get("env_cfg"), {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"}),
        ("auto_scale_lr", cfg.get("auto_scale_lr"), {"base_batch_size", "enable"}),
    ):
        _check_names(cfg, place, entry or {}, known)
    seed = (cfg.get("randomness") or {}).get("seed")
    if seed is not None and not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise UserError(f"randomness.seed is {seed!r}, not a whole number from 0 to 2**32 - 1: {cfg.filename}")
    for index, entry in enumerate(_listed((cfg.get("visualizer") or {}).get("vis_backends"))):
        package = BACKEND_PACKAGES.get(str(entry.get("type")).rpartition(".")[2])
        if package and find_spec(package) is None:
            raise UserError(
                f"visualizer.vis_backends.{index}: {entry['type']} needs {package}, which is not installed.\n"
                f"pip install {package}, or take the backend out of the config {cfg.filename}"
            )


def build_runner(cfg: Config, build: Callable[[Config], Runner]) -> Runner:
    """Builds the runner; what it refuses, such as validation that is described in part, is a UserError."""
    try:
        return build(cfg)
    except MISTAKES as error:
        raise _mistake(cfg, "the runner", error) from error


def build_optimizer(cfg: Config, model: nn.Module) -> OptimWrapper | None:
    """Builds the optimizer for the model, and on it the schedulers; None for one that only a running process group has.

    Raises:
        UserError: their arguments do not fit.
    """
    try:
        wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
        if getattr(wrapper, "clip_grad_kwargs", None):
            wrapper.clip_func([nn.Parameter(torch.zeros(1))], **wrapper.clip_grad_kwargs)
    except MISTAKES as error:
        if "process group" in str(error):
            return None
        raise _mistake(cfg, "optim_wrapper", error) from error
    if not isinstance(wrapper, OptimWrapper):
        return None
    most = (wrapper.clip_grad_kwargs or {}).get("max_norm", 1)
    if not most > 0:
        # torch would turn the gradient round.
        raise UserError(f"optim_wrapper.clip_grad.max_norm is {most!r}, not above 0, in the config {cfg.filename}")
    if not any(group["lr"] > 0 for group in wrapper.optimizer.param_groups):
        raise UserError(f"nothing would be learned: the lr of optim_wrapper is 0 in the config {cfg.filename}")
    return wrapper


def check_schedulers(cfg: Config, optim_wrapper: OptimWrapper) -> list[tuple[dict, Any]]:
    """Builds the schedulers on the optimizer, whose learning rates they change; returns their entries with them."""
    built = []
    for index, entry in enumerate(_listed(cfg.get("param_scheduler"))):
        entry = {key: value for key, value in entry.items() if key != "convert_to_iter_based"}
        if "type" in entry:
            place, arguments = f"param_scheduler.{index}", {"optimizer": optim_wrapper}
            built.append((entry, _build(cfg, place, registries.PARAM_SCHEDULERS, entry, arguments)))
            groups = optim_wrapper.optimizer.param_groups
            if built[-1][1].end >= INF and not any(group["lr"] for group in groups) and "ConstantLR" in entry["type"]:
                raise UserError(f"nothing would be learned: {place} makes the lr 0 for good: {cfg.filename}")
    return built


def _parts(cfg: Config, phases: tuple[str, ...]) -> Iterator[Part]:
    visualizer = cfg.get("visualizer") or {}
    yield Part("visualizer", visualizer, registries.VISUALIZERS)
    for index, entry in enumerate(_listed(visualizer.get("vis_backends"))):
        yield Part(f"visualizer.vis_backends.{index}", entry, registries.VISBACKENDS)
    yield Part("log_processor", cfg.get("log_processor"), registries.LOG_PROCESSORS, default="LogProcessor")
    for key, entry in (cfg.get("default_hooks") or {}).items():
        yield Part(f"default_hooks.{key}", entry, registries.HOOKS, ("priority",))
    for index, entry in enumerate(cfg.get("custom_hooks") or []):
        yield Part(f"custom_hooks.{index}", entry, registries.HOOKS, ("priority",))
    if "train" in phases:
        wrapper = cfg.optim_wrapper
        taken_out = ("constructor", "paramwise_cfg")
        yield Part("optim_wrapper", wrapper, registries.OPTIM_WRAPPERS, taken_out, "OptimWrapper")
        yield Part("optim_wrapper.optimizer", wrapper.get("optimizer"), registries.OPTIMIZERS)
        if wrapper.get("constructor", "DefaultOptimWrapperConstructor") == DefaultOptimWrapperConstructor.__name__:
            _check_names(cfg, "optim_wrapper.paramwise_cfg", wrapper.get("paramwise_cfg") or {}, PARAMWISE)
        for index, entry in enumerate(_listed(cfg.get("param_scheduler"))):
            place, registry = f"param_scheduler.{index}", registries.PARAM_SCHEDULERS
            yield Part(place, entry, registry, ("convert_to_iter_based",))
    for phase in phases:
        loop = cfg.get(f"{phase}_cfg")
        by_epoch = (loop or {}).get("by_epoch", True)
        default = {"train": "EpochBasedTrainLoop" if by_epoch else "IterBasedTrainLoop", "val": "ValLoop"}
        extra = () if loop is None or "type" in loop else ("by_epoch",)
        yield Part(f"{phase}_cfg", loop, registries.LOOPS, extra, default.get(phase, "TestLoop"))
        loader = cfg.get(f"{phase}_dataloader") or {}
        place = f"{phase}_dataloader"
        yield Part(f"{place}.sampler", loader.get("sampler"), registries.DATA_SAMPLERS)
        batches = loader.get("batch_sampler")
        yield Part(f"{place}.batch_sampler", batches, registries.DATA_SAMPLERS)
        for place, entry in evaluators_of(cfg, phase):
            yield Part(place, entry, registries.METRICS)


def _check_part(cfg: Config, part: Part) -> None:
    entry = part.entry
    if not entry:
        return
    if not isinstance(entry, dict):
        raise UserError(f"{part.place} is {entry!r}, not a dictionary, in the config {cfg.filename}")
    name = entry.get("type", part.default)
    if name is None:
        above, _, key = part.place.rpartition(".")
        others = {"checkpoint", "logger", "param_scheduler", "sampler_seed", "timer", "visualization"}
        hint = nearest(key, others) if above == "default_hooks" else ""
        raise UserError(f"{part.place} has no type in the config {cfg.filename}\n{hint or TYPE_HINT}")
    with part.registry.switch_scope_and_registry(entry.get("_scope_")) as scoped:
        described = scoped.get(name) if isinstance(name, str) else name
        if described is None:
            known = {other for registry in (scoped, scoped.parent) if registry for other in registry.module_dict}
            raise UserError(
                f"unknown type {name!r} at {part.place}.type of the config {cfg.filename}\n"
                f"{nearest(name, known) or TYPE_HINT}"
            )
    accepted = _accepted(described)
    if accepted is not None:
        _check_names(cfg, part.place, entry, accepted | {"type", "_scope_", *part.extra}, described.__name__)
    if part.registry is registries.METRICS:
        metrics = entry.get("metric") or []
        old_numpy = numpy.lib.NumpyVersion(numpy.__version__) < "1.24.0"
        if "proposal_fast" in ([metrics] if isinstance(metrics, str) else metrics) and not old_numpy:
            raise UserError(
                f"{part.place}.metric: mmdet's proposal_fast fails with numpy {numpy.__version__}.\n"
                f"Take COCO's own recall: --cfg-options {part.place}.metric=proposal"
            )
        # The annotations are not read twice.
        if accepted and "ann_file" in accepted and "ann_file" not in _required(described):
            entry = {key: value for key, value in entry.items() if key != "ann_file"}
    if part.registry is registries.HOOKS:
        for key, value in entry.items():
            if key.endswith("interval") and not isinstance(value, int):
                raise UserError(f"{part.place}.{key} is {value!r}, not a whole number, in the config {cfg.filename}")
    if part.registry in (registries.METRICS, registries.HOOKS):
        entry = {key: value for key, value in entry.items() if key not in part.extra}
        _build(cfg, part.place, part.registry, entry, {})


def _check_loader(cfg: Config, place: str, loader: dict) -> None:
    _check_names(cfg, place, loader, LOADER_ENTRIES.union(_accepted(DataLoader) or ()), "A dataloader")
    arguments = {key: value for key, value in loader.items() if key not in LOADER_ENTRIES}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            DataLoader([None], **arguments)  # type: ignore[arg-type]
    except MISTAKES as error:
        if "persistent_workers" in str(error):
            advice = f"Say both: --cfg-options {place}.num_workers=0 {place}.persistent_workers=False"
            raise UserError(f"{place}: {error} (num_workers=0)\n{advice}") from error
        raise _mistake(cfg, place, error) from error


def _check_names(cfg: Config, place: str, entry: Mapping, known: set[str], owner: str = "The entry") -> None:
    unknown = next((key for key in entry if key not in known), None)
    if unknown is not None:
        takes = ", ".join(sorted(known - {"type", "_scope_"}))
        hint = nearest(unknown, known)
        raise UserError(
            f"unknown argument {unknown!r} at {place} of the config {cfg.filename}\n"
            f"{hint}{' ' if hint else ''}{owner} takes {takes}."
        )


def _build(cfg: Config, place: str, registry: Registry, entry: dict, default_args: dict) -> Any:
    try:
        return registry.build(copy.deepcopy(entry), default_args=default_args)
    except UserError:
        raise
    except MISTAKES as error:
        raise _mistake(cfg, place, error) from error
    except RuntimeError as error:
        if registry is registries.METRICS:
            # A package that it needs is not installed.
            raise _mistake(cfg, place, error) from error
        # The visualizer of a hook is there in the run only.
        return None


def _mistake(cfg: Config, place: str, error: Exception) -> UserError:
    return UserError(f"{place}: {' '.join(in_words(error).split())[:300]}\nin the config {cfg.filename}")


def _accepted(described: Callable) -> set[str] | None:
    """The names of the arguments that a class or function takes; None where it takes any."""
    if not inspect.isclass(described):
        return set(inspect.signature(described).parameters)
    names: set[str] = set()
    for owner in described.__mro__:
        construct = vars(owner).get("__init__")
        if construct is None or owner is object:
            continue
        parameters = inspect.signature(construct).parameters.values()
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
        if owner is CheckpointHook:
            # They go to the runner, after the first epoch.
            return names.union(inspect.signature(Runner.save_checkpoint).parameters) - {"self"}
        if not re.search(r"super\([^)]*\)\.__init__\([^)]*\*\*", inspect.getsource(construct)):
            return None
    return names - {"self"}


def _required(described: Callable) -> set[str]:
    parameters = inspect.signature(described).parameters.values()
    return {p.name for p in parameters if p.default is p.empty}


def _listed(entries: Any) -> list[dict]:
    if entries is None:
        return []
    entries = entries if isinstance(entries, (list, tuple)) else [entries]
    return list(entries)
