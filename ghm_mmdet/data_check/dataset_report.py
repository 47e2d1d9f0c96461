"""What a config's data holds, what in it is suspicious, and what would break training."""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import Config
from mmengine.dataset import BaseDataset, RepeatDataset, pseudo_collate
from PIL import Image, UnidentifiedImageError
from torch.utils.data import DataLoader, Dataset

from ghm_mmdet.config import leaves
from ghm_mmdet.data_check.annotation_entries import (
    Findings,
    ImageEntry,
    coco_content,
    format_of,
    one_line,
    read_entries,
    shown,
)
from ghm_mmdet.data_check.preflight import build_part, check_classes, missing
from ghm_mmdet.errors import UserError, explain
from ghm_mmdet.prior import DenseHead, count_samples, find_dense_heads

PHASES = ("train", "val", "test")
# COCO's limits of a small and a medium object.
SMALL, MEDIUM = 32**2, 96**2
# Annotations round, and VOC's last pixel belongs to the box.
BORDER = 1

Progress = Callable[[Iterable, str, int], Iterable]


@dataclass
class Part:
    """One data set with files of its own.

    places: the entries of the config that read these files.
    note: why it was not looked at, else empty.
    """

    places: list[str]
    source: str
    note: str = ""
    classes: tuple[str, ...] = ()
    images: int = 0
    without_objects: int = 0
    objects: Counter = field(default_factory=Counter)
    sizes: Counter = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    def __str__(self) -> str:
        lines = [f"{', '.join(self.places)}: {self.source}"]
        if self.note:
            return f"{lines[0]}\n  not looked at: {self.note}"
        per_class = ", ".join(f"{name} {self.objects[name]:,}" for name in self.classes)
        lines += [
            f"  images: {self.images:,}, without objects: {self.without_objects:,}",
            f"  objects: {self.objects.total():,}",
            *textwrap.wrap(f"per class: {per_class}", 118, initial_indent="  ", subsequent_indent="    "),
            "  box sizes: " + ", ".join(f"{name} {self.sizes[name]:,}" for name in ("small", "medium", "large")),
        ]
        return "\n".join([*lines, *_finding_lines(self.findings)])


@dataclass
class Report:
    """All parts, what holds for the whole config, and lines on the anchors matched per object."""

    parts: list[Part]
    findings: Findings = field(default_factory=Findings)
    anchors: list[str] = field(default_factory=list)

    @property
    def breaks(self) -> bool:
        return any(findings.breaking for findings in (self.findings, *(part.findings for part in self.parts)))

    def __str__(self) -> str:
        verdict = "Training would break." if self.breaks else "Nothing was found that would break training."
        own = _finding_lines(self.findings)
        blocks = [*map(str, self.parts), "\n".join(self.anchors), "\n".join(["config and data:", *own]) if own else ""]
        return "\n\n".join([*filter(None, blocks), verdict])


def _finding_lines(findings: Findings) -> list[str]:
    lines = []
    for title, found in (("breaks training", findings.breaking), ("suspicious", findings.suspicious)):
        for kind, finding in found.items():
            lines.append(f"  {title}: {kind}: {finding.count:,}")
            lines += [f"    {place}" for place in finding.places]
            if finding.count > len(finding.places):
                lines.append(f"    and {finding.count - len(finding.places):,} more")
    return lines


def _without_progress(items: Iterable, what: str, total: int) -> Iterable:
    return items


def report_dataset(cfg: Config, progress: Progress = _without_progress) -> Report:
    """Reads all data of a config: annotations, image files, and the training data through its pipeline.

    Args:
        cfg: the config; its default scope has been entered.
        progress: wraps what is iterated over, with a description and the number of items, for a progress bar.

    Raises:
        UserError: the config defines no data set, or a data set or the model cannot be built from it. What is wrong
            with the files is in the report, not raised.
    """
    report = Report([])
    parts: dict[tuple, Part] = {}
    classes: dict[str, tuple[str, ...]] = {}
    train_parts = []
    for phase in PHASES:
        loader = cfg.get(f"{phase}_dataloader")
        if loader is None:
            continue
        for place, leaf in leaves(loader.dataset, f"{phase}_dataloader.dataset"):
            part = _read_part(cfg, place, leaf, parts, progress)
            if part.classes:
                classes[place] = part.classes
            if phase == "train":
                train_parts.append(part)
    report.parts = list(parts.values())
    if not report.parts:
        raise UserError(f"the config defines no data set: {cfg.filename}\nInherit a complete config.")
    _check_evaluators(cfg, report.findings)
    if cfg.get("model") is None:
        report.anchors.append("anchors matched per object: not counted, the config defines no model.")
        return report
    model = build_part(MODELS, cfg.model, "model")
    try:
        check_classes(model, classes)
    except UserError as error:
        report.findings.breaks("classes", one_line(error))
    if not train_parts or report.findings.breaking or any(part.findings.breaking for part in train_parts):
        report.anchors.append("anchors matched per object: not counted, there is no training data that can be read.")
        return report
    report.anchors += _read_as_training_does(cfg, model, report.findings, progress)
    return report


def _read_part(cfg: Config, place: str, leaf: dict, parts: dict[tuple, Part], progress: Progress) -> Part:
    ann_file = leaf.get("ann_file")
    lazy = not isinstance(ann_file, (list, tuple))
    data_set = build_part(DATASETS, {**leaf, "lazy_init": True}, place) if lazy else None
    kind = format_of(data_set)
    remote = leaf.get("backend_args") or "://" in f"{leaf.get('data_root')}{ann_file}"
    if kind is None or remote:
        reason = (
            "its files are not on this machine's disk." if kind else "only COCO's and VOC's formats are known here."
        )
        part = Part([place], f"{leaf.get('type')} {ann_file}", reason)
        return parts.setdefault((place,), part)
    classes = tuple(data_set.metainfo.get("classes") or ())
    path = os.path.abspath(data_set.ann_file)
    key = (type(data_set), path, tuple(sorted(data_set.data_prefix.items())), classes)
    if key in parts:
        parts[key].places.append(place)
        return parts[key]
    part = parts[key] = Part([place], f"{type(data_set).__name__} {path}", classes=classes)
    if not os.path.isfile(path):
        try:
            missing(cfg, "annotation file", path, place, "ann_file")
        except UserError as error:
            part.findings.breaks("annotation file", one_line(error))
        return part
    entries = read_entries(data_set, part.findings)
    for entry in entries:
        _summarise(entry, part)
    _check_files(entries, part.findings, progress)
    if not part.findings.breaking:
        _check_loads(data_set, part.findings)
    return part


def _summarise(entry: ImageEntry, part: Part) -> None:
    part.images += 1
    seen = set()
    before = part.objects.total()
    for box in entry.boxes:
        place = f"{entry.path}, {box.place}: {box.class_name} {shown(list(box.corners))}"
        if box.crowd:
            part.findings.suspects("crowd or difficult regions (not learned from, and ignored in evaluation)", place)
            continue
        if (box.class_name, box.corners) in seen:
            part.findings.suspects("boxes given twice", place)
        seen.add((box.class_name, box.corners))
        x1, y1, x2, y2 = box.corners
        width, height = box.size
        if width <= 0 or height <= 0:
            part.findings.suspects("boxes of zero or negative size", place)
            continue
        if width < 1 or height < 1:
            part.findings.suspects("boxes smaller than a pixel", place)
        if entry.size is not None:
            right, bottom = entry.size
            if not box.is_in(entry.size):
                part.findings.suspects("boxes outside the image", place)
                continue
            if min(x1, y1) < -BORDER or x2 > right + BORDER or y2 > bottom + BORDER:
                part.findings.suspects("boxes beyond the border of the image", place)
        part.objects[box.class_name] += 1
        area = width * height
        part.sizes["small" if area < SMALL else "medium" if area < MEDIUM else "large"] += 1
    part.without_objects += part.objects.total() == before


def _check_files(entries: list[ImageEntry], findings: Findings, progress: Progress) -> None:
    # Decoding leaves Python's lock, so threads are enough.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(_decode, (entry.path for entry in entries))
        for (kind, reason, size), entry in zip(progress(results, "image files", len(entries)), entries):
            path = os.path.abspath(entry.path)
            if kind:
                findings.breaks(kind, f"{path}{reason}")
            elif entry.size is not None and entry.size != size:
                findings.suspects(
                    "image sizes that differ from the file's",
                    f"{path}: annotated {shown(entry.size)}, the file has {size}",
                )


def _decode(path: str) -> tuple[str, str, tuple[int, int] | None]:
    """Decodes an image as training does: (kind of problem, reason, None), or ("", "", (width, height))."""
    if not os.path.isfile(path):
        return "image files not found", "", None
    try:
        with open(path, "rb") as file:
            content = file.read()
        image = cv2.imdecode(numpy.frombuffer(content, numpy.uint8), cv2.IMREAD_COLOR) if content else None
    except (OSError, cv2.error) as error:
        return "image files that cannot be read", f": {shown(str(error))}", None
    if image is None:
        return "image files that cannot be decoded", "", None
    try:
        # OpenCV fills what a cut-off file lacks with grey and says nothing.
        with Image.open(io.BytesIO(content)) as same:
            same.load()
    except (UnidentifiedImageError, Image.DecompressionBombError):
        pass
    except (OSError, SyntaxError, ValueError) as error:
        return "image files that are damaged or cut off", f": {shown(str(error))}", None
    return "", "", (image.shape[1], image.shape[0])


def _check_loads(data_set: BaseDataset, findings: Findings) -> None:
    """Lets mmdet read what was found to be whole; its word is final."""
    # Packing an empty list is where mmengine fails, with a message about arrays.
    data_set.serialize_data = False
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            data_set.full_init()
    except Exception as error:
        # Whatever it raises, training would raise it too.
        findings.breaks(f"mmdet's {type(data_set).__name__} cannot read it", _reason(error))
        return
    if len(data_set) == 0:
        findings.breaks("no image is left", f"the file has none, or filter_cfg={data_set.filter_cfg} drops them all")


def _check_evaluators(cfg: Config, findings: Findings) -> None:
    for phase in ("val", "test"):
        evaluators = cfg.get(f"{phase}_evaluator") or []
        for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
            path = evaluator.get("ann_file")
            if not isinstance(path, str) or "://" in path:
                continue
            try:
                if not os.path.isfile(path):
                    missing(cfg, "annotation file", path, f"{phase}_evaluator", "ann_file")
                coco_content(path)
            except (UserError, OSError) as error:
                findings.breaks(f"{phase}_evaluator.ann_file", one_line(error))


def _read_as_training_does(cfg: Config, model: Any, findings: Findings, progress: Progress) -> list[str]:
    """Sends the training data through its pipeline, and the boxes to the heads' assigners; no network runs."""
    heads: list[DenseHead] = []
    lines = []
    try:
        heads = [dense for dense in find_dense_heads(model) if dense.assigns_by_priors]
    except UserError as error:
        lines.append(f"anchors matched per object: not counted. {str(error).splitlines()[0]}")
    recorders = [_RecordingSampler.instead_of(dense.head) for dense in heads]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            data_set = DATASETS.build(cfg.train_dataloader.dataset)
            # A repetition holds nothing new.
            while isinstance(data_set, RepeatDataset):
                data_set = data_set.dataset
            if hasattr(data_set, "full_init"):
                data_set.full_init()
    except Exception as error:
        findings.breaks("train_dataloader.dataset cannot be built", _reason(error))
        return lines
    workers = cfg.train_dataloader.get("num_workers", 0)
    loader = DataLoader(_Guarded(data_set), num_workers=workers, collate_fn=_only)
    for index, item in enumerate(progress(loader, "training data", len(data_set))):
        if isinstance(item, str):
            findings.breaks("training data that its pipeline cannot take", f"train_dataloader.dataset[{index}]: {item}")
            continue
        sample = item["data_samples"]
        boxes = get_box_tensor(sample.gt_instances.bboxes)
        sizes = boxes[:, 2:4] - boxes[:, :2]
        if not bool((torch.isfinite(sizes) & (sizes > 0)).all()):
            findings.breaks(
                "boxes without an area that reach the detector (their regression targets are infinite; drop them with "
                "dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1)) in the pipeline)",
                str(sample.get("img_path", index)),
            )
            continue
        if not heads:
            continue
        with torch.no_grad():
            samples = model.data_preprocessor(pseudo_collate([item]), training=False)["data_samples"]
            for dense in heads:
                count_samples(dense, samples)
    return lines + [recorder.line(dense) for dense, recorder in zip(heads, recorders)]


class _Guarded(Dataset):
    """A data set that returns in words what it cannot load, also from a worker process."""

    def __init__(self, data_set: Any):
        self.data_set = data_set

    def __len__(self) -> int:
        return len(self.data_set)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.data_set[index]
        except Exception as error:
            # Whatever it raises, training would raise it too.
            return _reason(error)


def _only(items: list) -> Any:
    return items[0]


def _reason(error: Exception) -> str:
    return (explain(error) or f"{type(error).__name__}: {error}").partition("\n")[0]


class _RecordingSampler:
    """A head's own sampler, which also notes how many anchors the assigner gave each object."""

    def __init__(self, sampler: Any):
        self.sampler = sampler
        self.matched: list[int] = []

    @classmethod
    def instead_of(cls, head: Any) -> _RecordingSampler:
        head.sampler = recorder = cls(getattr(head, "sampler", None))
        return recorder

    def sample(self, assign_result: Any, *args: Any, **kwargs: Any) -> Any:
        objects = assign_result.gt_inds[assign_result.gt_inds > 0] - 1
        self.matched += torch.bincount(objects, minlength=assign_result.num_gts).tolist()
        return self.sampler.sample(assign_result, *args, **kwargs)

    def line(self, dense: DenseHead) -> str:
        if not self.matched:
            return f"anchors matched per object: not counted, {dense} assigns no anchors to objects."
        few = sum(count == 0 for count in self.matched)
        return (
            f"anchors matched per object, {dense}: mean {statistics.mean(self.matched):.1f}, "
            f"median {statistics.median(self.matched):g}, least {min(self.matched)}, most {max(self.matched)}; "
            f"{few:,} of {len(self.matched):,} objects without any"
        )
