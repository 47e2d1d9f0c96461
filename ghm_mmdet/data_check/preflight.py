"""Everything a run needs, looked at before it writes its first file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from mmdet.models.detectors import RPN
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ghm_mmdet.checkpoint.safe_loading import read_checkpoint
from ghm_mmdet.config import evaluates_masks, evaluators_of
from ghm_mmdet.data_check.annotation_files import shown
from ghm_mmdet.data_check.findings import Kind
from ghm_mmdet.data_check.pipeline import try_some_images
from ghm_mmdet.data_check.walk import Walk, walk_data
from ghm_mmdet.errors import RefusedCheckpointError, UserError, nearest, print_notice

# Reading a larger file twice would cost more than the mistake; its end alone is looked at.
LARGEST_PARSED_ANNOTATION = 256 * 2**20
# What costs a training nothing is left to check_dataset, unless it is one in ten.
QUIET = (Kind.BORDER, Kind.BOX_TWICE)


def check_data(cfg: Config, phases: tuple[str, ...]) -> Walk:
    """Looks at the data of the phases, and sends some of it through its pipelines; says what is suspicious.

    Args:
        cfg: the config.
        phases: of "train", "val", "test"; those that the config does not define are passed over.

    Raises:
        UserError: training or testing would break, or would learn from nothing; it names the file and the entry.
    """
    walk = walk_data(cfg, phases, LARGEST_PARSED_ANNOTATION)
    _raise_first(cfg, walk)
    for phase in walk.whole:
        try_some_images(cfg, walk, phase)
    _raise_first(cfg, walk)
    _check_monitored(cfg, walk)
    for phase in walk.whole:
        names = [name for place, _ in evaluators_of(cfg, phase) for name in walk.metrics.get(place, ())]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise UserError(f"two of {phase}_evaluator give {twice}\nGive one of them another name: prefix='second'")
    for kind, finding in walk.findings.suspicious.items():
        print_notice(f"{kind.text}: {finding.count:,}, {finding.places[0]}")
    for part in walk.parts:
        for kind, finding in part.findings.suspicious.items():
            if kind not in QUIET or (part.file and finding.count * 10 > part.file.objects):
                print_notice(f"{part.place}: {kind.text}: {finding.count:,}, {finding.places[0]}")
    return walk


def _raise_first(cfg: Config, walk: Walk) -> None:
    parts = [(part.place, part.path, part.findings) for part in walk.parts]
    for place, path, findings in [*parts, ("", "", walk.findings)]:
        for kind, finding in findings.breaking.items():
            more = f" (and {finding.count - 1:,} more)" if finding.count > 1 else ""
            more += f", in {path}" if path not in finding.places[0] else ""
            what = [place, "" if kind in (Kind.PATH, Kind.ANNOTATION_FILE) else kind.text, f"{finding.places[0]}{more}"]
            advice = finding.advice or f"All that is wrong with the data: python tools/check_dataset.py {cfg.filename}"
            raise UserError(": ".join(filter(None, what)) + f"\n{advice}")


def _check_monitored(cfg: Config, walk: Walk) -> None:
    """Raises UserError for a metric that a hook waits for and no evaluator gives; it would fail after an epoch."""
    given = [walk.metrics.get(place, set()) for place, _ in evaluators_of(cfg, "val")]
    if "val" not in walk.whole or not given or not all(given):
        # What a metric of another kind gives is not known.
        return
    names = set[str]().union(*given)
    hooks = {"default_hooks.checkpoint": (cfg.get("default_hooks") or {}).get("checkpoint") or {}}
    hooks |= {f"custom_hooks.{index}": hook for index, hook in enumerate(cfg.get("custom_hooks") or [])}
    for place, hook in hooks.items():
        for key in ("save_best", "monitor"):
            wanted: Any = hook.get(key) or []
            for name in [wanted] if isinstance(wanted, str) else wanted:
                if name not in {"auto", *names}:
                    hint = nearest(name, names) or f"Take one of {', '.join(sorted(names))}."
                    raise UserError(f"{place}.{key}: the evaluators give no {name!r}\n{hint}")


def enter_default_scope(cfg: Config) -> None:
    """Makes the names in the config mean what they will mean in the Runner."""
    init_default_scope(cfg.get("default_scope", "mmengine"))


def check_classes(model: Any, classes: dict[str, tuple[str, ...]]) -> None:
    """Raises UserError when a head predicts another number of classes than a data set has."""
    # A region proposal head knows objects only; a detector that is nothing but an RPN calls it bbox_head.
    alone = {id(module.bbox_head) for module in model.modules() if isinstance(module, RPN)}
    for place, names in classes.items():
        for module_name, module in model.named_modules():
            count = getattr(module, "num_classes", None)
            # Other parts than heads may carry an unrelated number.
            is_head = "head" in module_name.rsplit(".", 1)[-1] and not module_name.endswith("rpn_head")
            if is_head and id(module) not in alone and isinstance(count, int) and count != len(names):
                raise UserError(
                    f"model.{module_name}.num_classes is {count}, but {place} has {len(names)} classes "
                    f"({shown(', '.join(names))}).\n"
                    f"Make them agree: --cfg-options model.{module_name}.num_classes={len(names)}, or set "
                    f"{place}.metainfo.classes."
                )


def check_trained_classes(checkpoint: Any, classes: dict[str, tuple[str, ...]], path: str) -> None:
    """Raises UserError when a checkpoint was trained with the classes of a data set in another order."""
    meta = checkpoint.get("meta")
    of_data = (meta if isinstance(meta, dict) else {}).get("dataset_meta")
    trained = (of_data if isinstance(of_data, dict) else {}).get("classes")
    for place, names in classes.items():
        if isinstance(trained, (list, tuple)) and tuple(trained) != names and set(trained) == set(names):
            raise UserError(
                f"{place} has the classes in another order, {shown(list(names))}, than {path}, "
                f"{shown(list(trained))}\nList them in the checkpoint's order."
            )


def check_masks(cfg: Config, phases: tuple[str, ...], model: Any) -> None:
    """Raises UserError when masks are to be evaluated of a detector that predicts none."""
    for phase in phases:
        for place, evaluator in evaluators_of(cfg, phase):
            if evaluates_masks(evaluator) and getattr(model, "with_mask", None) is False:
                raise UserError(
                    f"{place}.metric has segm, but {type(model).__name__} predicts no masks as the config describes it."
                    f"\nTake it out: --cfg-options {place}.metric=bbox"
                )


def check_logits(model: Any) -> None:
    """Raises UserError when a head has another number of logits than its classification loss is meant for.

    A sigmoid loss wants one for each class, a softmax loss one more for the background. mmdet's dense heads read
    `use_sigmoid` from the config of the loss, with another default than most losses have, so that a head may have one
    logit too many, which trains without an error; its RoI heads have the background's whatever the loss is.
    """
    for name, head in model.named_modules():
        loss, of_regions = getattr(head, "loss_cls", None), getattr(head, "fc_cls", None)
        use_sigmoid, classes = getattr(loss, "use_sigmoid", None), getattr(head, "num_classes", None)
        logits = getattr(of_regions, "out_features", None) or getattr(head, "cls_out_channels", None)
        if not isinstance(use_sigmoid, bool) or not isinstance(classes, int) or not isinstance(logits, int):
            continue
        # A loss such as Seesaw decides for itself how many it wants.
        if logits != classes + (not use_sigmoid) and (use_sigmoid or not getattr(loss, "custom_cls_channels", False)):
            # What a RoI head cannot change, the loss must.
            wanted = of_regions is None
            raise UserError(
                f"model.{name} ({type(head).__name__}) has {logits} logits for {classes} "
                f"{'class' if classes == 1 else 'classes'}, which does not fit its loss_cls, "
                f"{type(loss).__name__} with use_sigmoid={use_sigmoid}.\n"
                f"Say which it is in the config, for this head --cfg-options {_head_entry(model, name)}.loss_cls."
                f"use_sigmoid={wanted}"
            )


def _head_entry(model: Any, name: str) -> str:
    """Where the config describes a head."""
    is_rpn = isinstance(model, RPN) and name == "bbox_head"
    return "model.rpn_head" if is_rpn else f"model.{name}"


def check_pretrained(model_cfg: Any, place: str = "model") -> None:
    """Fetches every file that `init_cfg=dict(type="Pretrained", checkpoint=...)` asks for, or says how to go without.

    A file from the net lands in torch's cache, where the initialisation then finds it.
    """
    if isinstance(model_cfg, (list, tuple)):
        for index, inner in enumerate(model_cfg):
            check_pretrained(inner, f"{place}.{index}")
        return
    if not isinstance(model_cfg, dict):
        return
    if model_cfg.get("type") == "Pretrained" and model_cfg.get("checkpoint"):
        source = model_cfg["checkpoint"]
        try:
            read_checkpoint(source)
        except RefusedCheckpointError:
            raise
        except UserError as error:
            url = _address(source)
            cached = f", or put {url.rsplit('/', 1)[-1]} into {_hub_folder()}" if url else ""
            raise UserError(
                f"pretrained weights {source} ({place}): {str(error).splitlines()[0]}\n"
                f"Train without them: --cfg-options {place}=None{cached}"
            ) from error
        return
    for key, inner in model_cfg.items():
        check_pretrained(inner, f"{place}.{key}")


def _hub_folder() -> str:
    import torch

    return os.path.join(torch.hub.get_dir(), "checkpoints")


def _address(source: str) -> str | None:
    """The URL behind mmengine's short names."""
    from mmengine.runner.checkpoint import get_external_models, get_torchvision_models

    scheme, _, name = source.partition("://")
    if scheme in ("http", "https"):
        return source
    if scheme in ("torchvision", "modelzoo"):
        return get_torchvision_models().get(name)
    if scheme in ("open-mmlab", "openmmlab"):
        return get_external_models().get(name)
    return None


def check_work_dir(work_dir: str, option: str = "--work-dir") -> None:
    """Creates the folder that the option names, as the last step of a preflight, and proves that it takes files."""
    path = Path(work_dir).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        what = "work_dir" if option == "--work-dir" else "folder"
        message = f"cannot write to the {what} {path} ({error.strerror})\nChoose another: {option} PATH"
        raise UserError(message) from error
