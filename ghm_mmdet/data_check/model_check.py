"""What a detector makes of the losses of this package: one batch through it, and what would be wrong in silence."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from torch import Tensor, nn

from ghm_mmdet.coco import quiet
from ghm_mmdet.config import build_part
from ghm_mmdet.data_check.preflight import check_logits
from ghm_mmdet.errors import UserError
from ghm_mmdet.prior import copy_to_step

# Beyond this the loss does not take the place of the one before it at the same weight.
SCALE = 5.0
# Images among which two with objects are sought.
LOOKED_AT = 50
# Numbers in an image that alone is work enough.
LARGE = 3 * 512 * 512
# An epoch by which every loss has been taken up.
LATE = 1000


@dataclass(frozen=True)
class ModelFinding:
    """Something about a loss in a model.

    wrong: whether the training would not do what the config says; else it is a note.
    loss: its name in the model and its class.
    """

    wrong: bool
    loss: str
    text: str


@dataclass
class _Calls:
    """What a loss was called with in a training step, and what came back.

    gradient, largest: the sum of the sizes of the gradients, and the greatest of them.
    scoring: calls that ask for the loss of each element, or that are not trained on.
    elements: calls of these through which a gradient came back.
    """

    trained: int = 0
    scoring: int = 0
    elements: int = 0
    probabilities: bool = True
    sizes_of_weight: bool = False
    gradient: float = 0.0
    largest: float = 0.0


def check_config_model(cfg: Config) -> list[ModelFinding]:
    """:func:`check_model` of a config: its model without pretrained weights, on the first images with objects.

    Raises:
        UserError: the model cannot be built.
    """
    if "ghm_mmdet." not in str(cfg.model):
        return []
    model_cfg = copy.deepcopy(cfg.model)
    _drop_pretrained(model_cfg)
    model = build_part(MODELS, model_cfg, "model")
    if not _own_losses(model):
        return []
    with quiet():
        model.init_weights()
        data_set = DATASETS.build(cfg.train_dataloader.dataset)
    batch = _with_objects(data_set)
    if not batch:
        return []
    return check_model(model, pseudo_collate(batch), replaced_losses(cfg.filename) if cfg.filename else {})


def _with_objects(data_set: Any) -> list[dict]:
    """The first images that hold objects, one large one or two; without any some losses have no turn."""
    found: list[dict] = []
    for index in range(min(LOOKED_AT, len(data_set))):
        item = data_set[index]
        if item is not None and len(item["data_samples"].gt_instances):
            found.append(item)
        if len(found) == 2 or (found and found[0]["inputs"].numel() > LARGE):
            break
    return found


def check_model(model: nn.Module, batch: dict, replaced: dict[str, dict] | None = None) -> list[ModelFinding]:
    """Runs a training step of a copy of the model and looks at what its losses of this package are given.

    Args:
        model: the detector, as built from its config.
        batch: as the training's data loader gives it.
        replaced: configs of the losses that those of this package took the place of, by their name in the model; for
            the others no scale is compared.
    """
    own = _own_losses(model)
    if not own:
        return []
    findings = []
    try:
        check_logits(model)
    except UserError as error:
        findings.append(ModelFinding(True, "loss_cls", _words(error)))
    try:
        calls = _training_step(copy_to_step(model), list(own), batch)
        if any(not seen.trained for seen in calls.values()):
            # Some have their turn in later epochs, as in TOOD.
            later = _training_step(copy_to_step(model), list(own), batch, epoch=LATE)
            calls = {name: seen if seen.trained else later[name] for name, seen in calls.items()}
    except Exception as error:
        # Whatever it raises, training would raise it too.
        return findings or [ModelFinding(True, "a training step", _words(error))]
    before = _gradients_before(model, {name: (replaced or {}).get(name) for name in own}, batch)
    for name, seen in calls.items():
        who = f"{name} ({type(own[name]).__name__})"
        head = type(model.get_submodule(name.rpartition(".")[0])).__name__
        texts = _findings(own[name], seen, head, before.get(name))
        findings += [ModelFinding(wrong, who, text) for wrong, text in texts]
    kinds = {name.rpartition(".")[2] for name, seen in calls.items() if seen.trained}
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in kinds and name not in own:
            findings.append(ModelFinding(False, f"{name} ({type(module).__name__})", "stays beside those replaced."))
    return findings


def _findings(loss: Any, seen: _Calls, head: str, before: tuple[dict, _Calls] | None) -> Iterator[tuple[bool, str]]:
    """Whether it is wrong, and the words.

    Args:
        head: the class of the head that the loss is in.
        before: the config of the loss it took the place of, and that one's calls.
    """
    if not seen.trained and seen.elements:
        yield True, f"gives the loss of each element, of which {head} makes a loss of its own. Keep {head}'s own."
        return
    if not seen.trained:
        how = "only to score samples" if seen.scoring else "never"
        yield True, f"is called {how} in a training step: {head} computes its loss without it. Keep {head}'s own."
        return
    activated = getattr(loss, "activated", False)
    if seen.probabilities and hasattr(loss, "use_sigmoid") and not activated:
        remedy = "Set activated=True" if hasattr(loss, "activated") else f"Keep {head}'s own loss"
        yield True, f"takes predictions for logits that all lie in [0, 1]: {head} gives probabilities. {remedy}."
    if seen.scoring:
        yield False, "also scores samples (reduction 'none'), which ranks them by their harmonized loss."
    if getattr(loss, "reduction", "") == "none" and getattr(loss, "momentum", 0) > 0:
        yield False, "has reduction='none', with which its moving average stays at its start: set momentum=0."
    if seen.sizes_of_weight and not getattr(loss, "scale_by_weight", True):
        yield False, "is given weights that are neither 0 nor 1, whose size has no effect: scale_by_weight=True."
    if before is None or before[1].gradient == 0:
        return
    times = seen.gradient / before[1].gradient
    # Another loss_weight than before is the user's choice.
    chosen = getattr(loss, "loss_weight", 1.0) / before[0].get("loss_weight", 1.0)
    # A loss that leaves the easy crowd out has a smaller sum, though what is hard weighs what it did.
    ratios = [times, seen.largest / before[1].largest]
    ratios += [ratio / chosen for ratio in ratios] if chosen else [1.0]
    if not any(1 / SCALE <= ratio <= SCALE for ratio in ratios):
        form = "positives" if hasattr(loss, "use_sigmoid") else "avg_factor"
        remedy = "loss_weight" if getattr(loss, "normalize", None) else f"normalize={form!r}, or loss_weight"
        yield False, f"has gradients {times:.3g} times those of {before[0]['type']} before training: set {remedy}."


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _own_losses(model: nn.Module) -> dict[str, nn.Module]:
    modules = model.named_modules()
    return {name: module for name, module in modules if type(module).__module__.startswith("ghm_mmdet.losses")}


def _drop_pretrained(node: Any) -> None:
    """Their fetching would take long, and nothing that is looked at depends on them."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        _drop_pretrained(value)
    if isinstance(node, dict):
        if isinstance(node.get("init_cfg"), dict) and node["init_cfg"].get("type") == "Pretrained":
            node["init_cfg"] = None
        for key in node.keys() & {"pretrained", "teacher_ckpt"}:
            node[key] = None


def _training_step(model: Any, names: list[str], batch: dict, epoch: int = 0) -> dict[str, _Calls]:
    """Runs it with random numbers of its own, so that two runs see the same."""
    hub = MessageHub.get_current_instance()
    before = hub.get_info("epoch", 0)
    hub.update_info("epoch", epoch)
    calls = {name: _Calls() for name in names}
    for name in names:
        loss: Any = model.get_submodule(name)
        if getattr(loss, "acc_sum", None) is not None and getattr(loss, "acc_norm", 0) is None:
            # Without debias the first weights are 1 / (1 - momentum) times those of a moving average that has run in.
            loss.register_buffer("acc_norm", torch.zeros_like(loss.acc_sum))
        loss.register_forward_pre_hook(_watcher(calls[name]), with_kwargs=True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            losses = model(**model.data_preprocessor(copy.deepcopy(batch), training=True), mode="loss")
            model.parse_losses(losses)[0].backward()
    finally:
        hub.update_info("epoch", before)
    return calls


def _watcher(calls: _Calls) -> Callable[[nn.Module, tuple, dict], tuple[tuple, dict]]:
    def watch(loss: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        try:
            bound = inspect.signature(loss.forward).bind(*args, **kwargs)
        except TypeError:
            # The call will say which argument the loss does not take.
            return args, kwargs
        given = bound.arguments
        first = next(iter(given))
        pred, weight = given[first], given.get("label_weight", given.get("weight"))
        elements = given.get("reduction_override") == "none"
        if elements or not pred.requires_grad:
            calls.scoring += 1
            if elements and pred.requires_grad and pred.numel():
                given[first] = pred.view_as(pred)
                given[first].register_hook(lambda gradient: _mark(calls, gradient))
            return bound.args, bound.kwargs
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
    size = gradient.abs()
    calls.gradient += float(size.sum())
    calls.largest = max(calls.largest, float(size.max()))


def _mark(calls: _Calls, gradient: Tensor) -> None:
    calls.elements += bool(gradient.any())


def _gradients_before(
    model: nn.Module, replaced: dict[str, dict | None], batch: dict
) -> dict[str, tuple[dict, _Calls]]:
    """The config of each loss that was replaced, and its calls in the same step."""
    before = {name: loss for name, loss in replaced.items() if loss is not None}
    if not before:
        return {}
    other = copy_to_step(model)
    try:
        for name, loss in before.items():
            parent, _, last = name.rpartition(".")
            setattr(other.get_submodule(parent), last, MODELS.build(loss))
        calls = _training_step(other, list(before), batch)
    except Exception:
        # A loss before does not fit the head as it is now, such as a softmax in one of sigmoids.
        return {}
    return {name: (loss, calls[name]) for name, loss in before.items()}


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
