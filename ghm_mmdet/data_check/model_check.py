"""What a detector makes of the losses of this package: one batch through it, and what would be wrong in silence."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MessageHub
from torch import Tensor, nn

from ghm_mmdet.data_check.preflight import check_logits
from ghm_mmdet.errors import UserError

# Beyond this the loss does not take the place of the one before it at the same weight.
SCALE = 5.0


@dataclass(frozen=True)
class ModelFinding:
    """Something about a loss in a model. wrong: the training would not do what the config says; else it is a note."""

    wrong: bool
    text: str


@dataclass
class _Calls:
    """What a loss was called with in a training step."""

    trained: int = 0
    scoring: int = 0
    probabilities: bool = True
    sizes_of_weight: bool = False
    gradient: float = 0.0
    names: set[str] = field(default_factory=set)


def check_model(model: nn.Module, batch: dict, replaced: dict[str, dict] | None = None) -> list[ModelFinding]:
    """Runs a training step of a copy of the model and looks at what its losses of this package are given.

    Args:
        model: the detector, as built from its config.
        batch: as the training's data loader gives it.
        replaced: the losses that those of this package took the place of, by their name in the model; for the others
            no scale is compared.
    """
    own = {name: module for name, module in model.named_modules() if _is_own(module)}
    if not own:
        return []
    findings = []
    try:
        check_logits(model)
    except UserError as error:
        findings.append(_wrong(error))
    try:
        calls = _training_step(model, own, batch)
    except Exception as error:
        # Whatever it raises, training would raise it too.
        return [*findings, _wrong(error)]
    for name, seen in calls.items():
        who = f"{name} ({type(own[name]).__name__})"
        head = type(model.get_submodule(name.rpartition(".")[0])).__name__
        if not seen.trained:
            how = "only to score samples" if seen.scoring else "never"
            text = f"{who} is called {how} in a training step: {head} computes its loss without it. Keep {head}'s own."
            findings.append(ModelFinding(True, text))
            continue
        if seen.probabilities and hasattr(own[name], "use_sigmoid") and not getattr(own[name], "activated", False):
            text = f"{who} takes predictions for logits that all lie in [0, 1]: {head} gives probabilities."
            findings.append(ModelFinding(True, f"{text} Set activated=True, or keep {head}'s own loss."))
        if seen.scoring:
            text = f"{who} also scores samples (reduction 'none'), which ranks them by their harmonized loss."
            findings.append(ModelFinding(False, text))
        if seen.sizes_of_weight and not getattr(own[name], "scale_by_weight", True):
            text = f"{who} is given weights that are neither 0 nor 1, whose size has no effect: scale_by_weight=True."
            findings.append(ModelFinding(False, text))
        findings += _scale(model, own, name, batch, (replaced or {}).get(name), who)
    kinds = {name.rpartition(".")[2] for name, seen in calls.items() if seen.trained}
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in kinds and isinstance(module, nn.Module) and not _is_own(module):
            findings.append(ModelFinding(False, f"{name} ({type(module).__name__}) stays as it is beside ours."))
    return findings


def _wrong(error: Exception) -> ModelFinding:
    text = " ".join(str(error).split())
    return ModelFinding(True, text if isinstance(error, UserError) else f"{type(error).__name__}: {text}")


def _is_own(module: nn.Module) -> bool:
    return type(module).__module__.startswith("ghm_mmdet.losses")


def _training_step(model: nn.Module, losses: dict[str, nn.Module], batch: dict) -> dict[str, _Calls]:
    """Runs it in a copy of the model, which is seeded, so that two runs see the same."""
    model = copy.deepcopy(model).train()
    hub = MessageHub.get_current_instance()
    hub.update_info("epoch", hub.get_info("epoch", 0))
    calls = {name: _Calls() for name in losses}
    for name in losses:
        loss = model.get_submodule(name)
        if getattr(loss, "acc_sum", None) is not None and getattr(loss, "acc_norm", 0) is None:
            # Without debias the first weights are 1 / (1 - momentum) times those of a moving average that has run in.
            loss.register_buffer("acc_norm", torch.zeros_like(loss.acc_sum))
        loss.register_forward_pre_hook(_watcher(calls[name]), with_kwargs=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        values = model(**model.data_preprocessor(copy.deepcopy(batch), training=True), mode="loss")
        model.parse_losses(values)[0].backward()
    return calls


def _watcher(calls: _Calls) -> Any:
    def watch(loss: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        bound = inspect.signature(loss.forward).bind(*args, **kwargs)
        given = bound.arguments
        first = next(iter(given))
        pred, weight = given[first], given.get("label_weight", given.get("weight"))
        if given.get("reduction_override") == "none" or not pred.requires_grad:
            calls.scoring += 1
            return args, kwargs
        calls.trained += 1
        calls.probabilities &= bool(((pred >= 0) & (pred <= 1)).all())
        calls.sizes_of_weight |= isinstance(weight, Tensor) and bool(((weight != 0) & (weight != 1)).any())
        # A view of its own, to which no other loss's gradient comes.
        given[first] = pred.view_as(pred)
        if pred.numel():
            given[first].register_hook(lambda gradient: _add(calls, gradient))
        return bound.args, bound.kwargs

    return watch


def _add(calls: _Calls, gradient: Tensor) -> None:
    calls.gradient += float(gradient.abs().sum())


def _scale(
    model: nn.Module, own: dict[str, nn.Module], name: str, batch: dict, before: dict | None, who: str
) -> Iterator[ModelFinding]:
    """How many times larger the gradient is than that of the loss before."""
    if before is None:
        return
    try:
        ours = _training_step(model, {name: own[name]}, batch)[name].gradient
        other = copy.deepcopy(model)
        parent, _, last = name.rpartition(".")
        setattr(other.get_submodule(parent), last, MODELS.build(before))
        theirs = _training_step(other, {name: own[name]}, batch)[name].gradient
    except Exception:
        # The loss before cannot be run in the head as it is now, such as a softmax in one of sigmoids.
        return
    if theirs > 0 and ours > 0 and not 1 / SCALE <= ours / theirs <= SCALE:
        times = f"{ours / theirs:.3g} times"
        text = f"{who} has gradients of {times} those of {before['type']} before training"
        yield ModelFinding(False, f"{text}: set loss_weight, or normalize='avg_factor'.")


def replaced_losses(path: str) -> dict[str, dict]:
    """The losses in the bases of a config file that are not of this package, by their name in the model."""
    found: dict[str, dict] = {}
    for base in Config._get_base_files(path):
        file, _ = Config._get_cfg_path(base, path)
        losses = dict(walk_losses(Config.fromfile(file).get("model") or {}))
        farther = replaced_losses(file)
        for name in losses.keys() | farther.keys():
            loss = losses.get(name)
            if loss is None or str(loss["type"]).startswith("ghm_mmdet."):
                loss = farther.get(name)
            if loss is not None:
                found[name] = loss
    return found


def walk_losses(node: Any, place: str = "") -> Iterator[tuple[str, dict]]:
    """Every ``loss_...`` in a model's config, by its place."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in items:
        inner = f"{place}.{key}".lstrip(".")
        if str(key).startswith("loss_") and isinstance(value, dict) and "type" in value:
            yield inner, value
        else:
            yield from walk_losses(value, inner)
