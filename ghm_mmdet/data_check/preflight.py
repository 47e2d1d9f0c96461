"""Everything a run needs, looked at before it writes its first file."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from mmdet import registry as mmdet_registry
from mmdet.datasets import XMLDataset
from mmdet.models.detectors import RPN
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import Registry, init_default_scope

from ghm_mmdet.checkpoint.safe_loading import read_checkpoint
from ghm_mmdet.config import leaves
from ghm_mmdet.data_check.annotation_entries import (
    OTHER_ORDER,
    Findings,
    ImageEntry,
    coco_content,
    format_of,
    image_size,
    parse_json,
    read_entries,
    shown,
    unusable_images,
)
from ghm_mmdet.errors import RefusedCheckpointError, UserError, explain, print_notice

# Reading a larger file twice would cost more than the mistake; its end alone is looked at.
LARGEST_PARSED_ANNOTATION = 256 * 2**20
SCOPE_HINT = (
    "Anchor heads of ghm_mmdet have density_scope, e.g. type='ghm_mmdet.RetinaHead'; heads without anchors do without."
)


def check_data(cfg: Config, phases: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Looks at the annotations of every data set of the phases, and whether its images and evaluator's file are there.

    Args:
        cfg: the config.
        phases: of "train", "val", "test"; those the config does not define are passed over.

    Returns:
        The class names of each leaf data set, by its place in the config.

    Raises:
        UserError: a file or folder is missing or broken; it names the path and what sets it.
    """
    classes: dict[str, tuple[str, ...]] = {}
    checked: dict[Any, Any] = {}
    for phase in phases:
        loader = cfg.get(f"{phase}_dataloader")
        if loader is None:
            continue
        found = []
        for place, leaf in leaves(loader.dataset, f"{phase}_dataloader.dataset"):
            names, content = _check_data_set(cfg, place, leaf, checked)
            if names:
                classes[place] = names
            found.append(content)
        evaluators = cfg.get(f"{phase}_evaluator") or []
        for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
            ann_file = evaluator.get("ann_file")
            if isinstance(ann_file, str) and "://" not in ann_file:
                content = _check_annotation(cfg, ann_file, f"{phase}_evaluator.ann_file", checked)
                if content is not None and "Coco" in str(evaluator.get("type")):
                    _check_evaluated(coco_content(os.path.abspath(ann_file), content), found, ann_file, phase)
    return classes


def _check_data_set(cfg: Config, place: str, leaf: dict, checked: dict[Any, Any]) -> tuple[tuple[str, ...], Any]:
    """Returns the class names, and the JSON of the annotation file where it is one."""
    ann_files = leaf.get("ann_file")
    if isinstance(ann_files, (list, tuple)):
        for ann_file in ann_files:
            root = leaf.get("data_root") or ""
            _check_annotation(cfg, os.path.join(root, ann_file), f"{place}.ann_file", checked)
        return (), None
    data_set = build_part(mmdet_registry.DATASETS, {**leaf, "lazy_init": True}, place)
    # Files behind another backend (petrel, lmdb, http) are that backend's to check.
    remote = leaf.get("backend_args") or "://" in f"{leaf.get('data_root')}{ann_files}"
    if not isinstance(data_set, BaseDataset) or remote:
        return (), None
    if data_set.data_root and not os.path.isdir(data_set.data_root):
        missing(cfg, "data root", data_set.data_root, place, "data_root")
    content = None
    if data_set.ann_file:
        content = _check_annotation(cfg, data_set.ann_file, f"{place}.ann_file", checked)
    for key, folder in data_set.data_prefix.items():
        if folder and not os.path.isdir(folder):
            missing(cfg, "folder", folder, place, f"data_prefix.{key}")
    kind = format_of(data_set)
    if kind == "VOC":
        for key in ("img_subdir", "ann_subdir"):
            folder = os.path.join(data_set.sub_data_root, getattr(data_set, key))
            if not os.path.isdir(folder):
                missing(cfg, "folder", folder, place, key)
    if kind == "VOC" or (kind == "COCO" and content is not None):
        key = (json.dumps(leaf, default=str, sort_keys=True), data_set.test_mode)
        if key not in checked:
            checked[key] = None
            _check_entries(cfg, data_set, place, content)
    return tuple(data_set.metainfo.get("classes") or ()), content if kind == "COCO" else None


def _check_annotation(cfg: Config, ann_file: str, place: str, checked: dict[Any, Any]) -> Any:
    """Returns what a JSON annotation file holds, None for any other kind, each file read once."""
    path = os.path.abspath(ann_file)
    if path in checked:
        return checked[path]
    if not os.path.isfile(path):
        missing(cfg, "annotation file", path, *place.rsplit(".", 1))
    checked[path] = read_json(path) if path.endswith(".json") else None
    return checked[path]


def read_json(path: str) -> Any:
    """Returns the content, or None for a file too large to read twice, of which only the end is checked."""
    if os.path.getsize(path) > LARGEST_PARSED_ANNOTATION:
        with open(path, "rb") as file:
            file.seek(-4096, os.SEEK_END)
            end = file.read().rstrip()
        if not end.endswith((b"}", b"]")):
            raise UserError(f"the annotation file is cut off: {path}\nCopy or download it again.")
        return None
    return parse_json(path)


def _check_entries(cfg: Config, data_set: BaseDataset, place: str, content: Any) -> None:
    """Raises UserError for what breaks training in the annotations, and for images that are not there."""
    ann_file = _absolute(data_set.ann_file)
    advice = f"All that is wrong with the data: python tools/check_dataset.py {cfg.filename}"
    findings = Findings()
    entries = read_entries(data_set, findings, content)
    if findings.breaking:
        kind, finding = next(iter(findings.breaking.items()))
        if kind == "class list":
            advice = f"Set {place}.metainfo.classes to the file's names."
        what = finding.places[0]
        if kind != "annotation file":
            what = f"{kind}: {what}{_others(finding.count)}, in {ann_file}"
        raise UserError(f"{place}: {what}\n{advice}")
    for kind, finding in findings.suspicious.items():
        if kind == OTHER_ORDER:
            print_notice(f"{place}: {kind}: {finding.places[0]}")
    entries = _kept_images(data_set, entries)
    if not entries:
        raise UserError(f"{place}: no image is left, filter_cfg={data_set.filter_cfg} and {ann_file}\n{advice}")
    # Of a part of the data only mmdet knows which images it is.
    if data_set._indices is not None:
        return
    gone, empty = unusable_images(entries)
    if gone or empty:
        what, paths = ("image not found", gone) if gone else ("image file is empty", empty)
        raise UserError(
            f"{place}: {what}: {_absolute(paths[0])}{_others(len(paths))}, of {len(entries)} in {ann_file}\n"
            f"Set {place}.data_prefix to the folder of the images, or take them out of the annotations."
        )
    if format_of(data_set) == "VOC" and not data_set.test_mode and "FilterAnnotations" not in str(cfg.train_dataloader):
        _check_areas(data_set, entries, place)


def _kept_images(data_set: BaseDataset, entries: list[ImageEntry]) -> list[ImageEntry]:
    """What mmdet's ``filter_cfg`` keeps."""
    filter_cfg = data_set.filter_cfg or {}
    if data_set.test_mode:
        return entries
    if filter_cfg.get("filter_empty_gt"):
        entries = [entry for entry in entries if entry.boxes]
    smallest = filter_cfg.get("min_size", 0)
    return [entry for entry in entries if entry.size is None or min(entry.size) >= smallest]


def _check_areas(data_set: XMLDataset, entries: list[ImageEntry], place: str) -> None:
    """Raises UserError for boxes whose regression targets are infinite; of COCO's boxes mmdet drops these itself."""
    smallest = data_set.bbox_min_size
    for entry in entries:
        for box in entry.boxes:
            learned = not box.crowd and (smallest is None or min(box.size) >= smallest)
            # The annotated size may be wrong, and plays no part in the training.
            if learned and not box.is_in(entry.size) and not box.is_in(image_size(entry.path)):
                raise UserError(
                    f"{place}: a box without an area in the image: {_absolute(entry.path)}, {box.place}: "
                    f"{box.class_name} {shown(list(box.corners))}\nMend it, or drop all of them: "
                    "dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1)) after Resize in the pipeline."
                )


def _check_evaluated(content: dict[str, list], found: list, ann_file: str, phase: str) -> None:
    """Raises UserError when the data set has images that the evaluator's ground truth has not."""
    if any(other is None for other in found):
        return
    known = {str(image.get("id")) for image in content["images"] if isinstance(image, dict)}
    tested = {str(image["id"]) for other in found for image in other["images"]}
    if not tested <= known:
        raise UserError(
            f"{phase}_evaluator.ann_file lacks {len(tested - known)} of the {len(tested)} images of {phase}_dataloader:"
            f" {_absolute(ann_file)}\nSet it to the annotation file of {phase}_dataloader.dataset."
        )


def _others(count: int) -> str:
    return f" (and {count - 1:,} more)" if count > 1 else ""


def missing(cfg: Config, what: str, path: str, place: str, key: str) -> None:
    """Raises the UserError for a path that is not there: it names the config's entry and what sets it."""
    variables = sorted(set(re.findall(r"\{\{\s*['\"]?\s*\$(\w+)\s*:", cfg.text)))
    setting = f"--cfg-options {place}.{key}=PATH"
    if variables and key != "img_subdir":
        setting = f"the environment variable {' or '.join(variables)} to the folder of the data, or {setting}"
        raise UserError(f"{what} not found: {_absolute(path)} ({place}.{key})\nSet {setting}")
    raise UserError(f"{what} not found: {_absolute(path)} ({place}.{key})\nSet it with {setting}")


def _absolute(path: str) -> str:
    return os.path.abspath(path)


def _few(names: Any) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def enter_default_scope(cfg: Config) -> None:
    """Makes the names in the config mean what they will mean in the Runner."""
    init_default_scope(cfg.get("default_scope", "mmengine"))


def build_part(registry: Registry, part: dict, place: str) -> Any:
    """Builds what a config entry describes; a mistake in its arguments is a UserError that names the entry."""
    try:
        return registry.build(part)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        reason = explain(error) or f"{type(error).__name__}: {error}"
        if "unexpected keyword argument 'density_scope'" in reason:
            reason += f"\n{SCOPE_HINT}"
        raise UserError(f"{place}: {reason}") from error


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
                    f"({_few(names)}).\nMake them agree: --cfg-options model.{module_name}.num_classes={len(names)}, "
                    f"or set {place}.metainfo.classes."
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


def check_work_dir(work_dir: str) -> None:
    """Creates the folder, as the last step of a preflight, and proves that it takes files."""
    path = Path(work_dir).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        message = f"cannot write to the work_dir {path} ({error.strerror})\nChoose another: --work-dir PATH"
        raise UserError(message) from error
