"""What a config's data holds, what in it is suspicious, and what would break training."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from ghm_mmdet.config import build_part
from ghm_mmdet.data_check.findings import Kind
from ghm_mmdet.data_check.model_keys import check_model_keys
from ghm_mmdet.data_check.pipeline import (
    Progress,
    find_missing_images,
    find_not_packed,
    find_nothing_learned,
    pass_image,
    pass_images,
    record,
    try_evaluators,
)
from ghm_mmdet.data_check.preflight import check_classes
from ghm_mmdet.data_check.walk import Part, Walk, walk_data
from ghm_mmdet.errors import UserError, described
from ghm_mmdet.prior import DenseHead, count_samples, find_dense_heads

PHASES = ("train", "val", "test")
# Assigning the anchors of an image costs more than all else that is done with it.
MOST_ASSIGNED = 30


@dataclass
class Report:
    """The walk over the data, the config's model, and lines on the anchors matched per object."""

    walk: Walk
    model: Any = None
    anchors: list[str] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=dict)

    @property
    def breaks(self) -> bool:
        return self.walk.breaks

    def __str__(self) -> str:
        verdict = "Training would break." if self.breaks else "Nothing was found that would break training."
        own = str(self.walk.findings)
        blocks = [_describe(part, self.passed.get(part.place)) for part in self.walk.parts]
        return "\n\n".join(
            filter(None, [*blocks, "\n".join(self.anchors), own and f"config and data:\n{own}", verdict])
        )


def _describe(part: Part, passed: int | None) -> str:
    lines = [f"{', '.join(part.places)}: {part.source}"]
    if part.note:
        return f"{lines[0]}\n  not looked at: {part.note}"
    if part.data_set is not None:
        annotated = part.file.objects if part.file else part.objects.total()
        files = len(part.file.images) if part.file else part.images
        of_files = f" of {files:,} annotated" if files != part.images else ""
        of = f" of {annotated:,} annotated" if annotated != part.objects.total() else ""
        per_class = ", ".join(f"{name} {part.objects[name]:,}" for name in part.labels)
        lines += [
            f"  images: {part.images:,}{of_files}, without objects: {part.without_objects:,}",
            f"  objects: {part.objects.total():,}{of}",
            *textwrap.wrap(f"per class: {per_class}", 118, initial_indent="  ", subsequent_indent="    "),
            "  box sizes: " + ", ".join(f"{name} {part.sizes[name]:,}" for name in ("small", "medium", "large")),
        ]
        lines += [
            f"  left out: {count:,} {kind.text if kind else 'crowd or difficult, to be ignored'}"
            for kind, count in (part.file.left_out if part.file else {}).items()
        ]
        lines += [
            f"  left out: {count:,} by the transform {part.place}.pipeline.{step}"
            for step, count in part.dropped_by_transforms.items()
        ]
        if passed is not None and passed < part.images:
            lines.append(f"  sent through the pipeline: {passed:,} of {part.images:,} images")
    return "\n".join(filter(None, [*lines, str(part.findings)]))


def without_progress(items: Iterable, what: str, total: int) -> Iterable:
    return items


def report_dataset(
    cfg: Config, progress: Progress = without_progress, max_images: int | None = None, workers: int = 0
) -> Report:
    """Reads all data of a config: annotations, and the images through their pipelines.

    Args:
        cfg: the config; its default scope has been entered.
        progress: wraps what is iterated over, with a description and the number of items, for a progress bar.
        max_images: send this many images of each data set through its pipeline, evenly spaced; None for all.
        workers: processes that load images.

    Raises:
        UserError: the config defines no data set, or a data set or the model cannot be built from it. What is wrong
            with the files is in the report, not raised.
    """
    walk = walk_data(cfg, PHASES)
    if not walk.parts:
        raise UserError(f"the config defines no data set: {cfg.filename}\nInherit a complete config.")
    report = Report(walk)
    model = report.model = None if cfg.get("model") is None else build_part(MODELS, cfg.model, "model")
    if model is not None:
        check_model_keys(cfg.model, model)
        try:
            check_classes(model, walk.classes)
        except UserError as error:
            what, _, advice = str(error).partition("\n")
            walk.findings.add(Kind.HEAD_CLASSES, what, advice)
    items = []
    for part in walk.parts:
        if part.data_set is None:
            continue
        gone = find_missing_images(part)
        most = min(max_images or part.images, part.images)
        chosen = [index * part.images // most for index in range(most)]
        items += [(part, index) for index in chosen if index not in gone]
        report.passed[part.place] = most
    counter = _AnchorCounter(model, [at for at, (part, _) in enumerate(items) if "train" in part.phases], walk)
    objects = 0
    tried: set[str] = set()
    first = {part.place: at for at, (part, _) in reversed([*enumerate(items)])}
    stream = progress(pass_images(items, workers, counter.chosen.union(first.values())), "images", len(items))
    for at, (passed, (part, index)) in enumerate(zip(stream, items)):
        record(part, passed)
        objects += passed.objects if "train" in part.phases else 0
        if at in counter.chosen and passed.sample is not None:
            counter.count(passed.sample)
        if passed.problem is None and part.place not in tried:
            tried.add(part.place)
            try_evaluators(cfg, walk, part, passed.sample or pass_image(part, index, with_sample=True).sample)
    for phase in walk.whole:
        find_not_packed(walk, phase)
    find_nothing_learned(walk, objects)
    report.anchors = counter.lines()
    return report


class _AnchorCounter:
    """Counts the anchors that a detector's heads match with each object, in some images; no network runs."""

    def __init__(self, model: Any, positions: list[int], walk: Walk):
        self.model, self.walk, self.available = model, walk, len(positions)
        self.heads: list[DenseHead] = []
        self.why = ""
        if model is None:
            self.why = "the config defines no model."
        elif not positions or walk.breaks:
            self.why = "there is no training data that can be read."
        else:
            try:
                self.heads = [dense for dense in find_dense_heads(model) if dense.assigns_by_priors]
            except UserError as error:
                self.why = str(error).splitlines()[0]
        self.recorders = [_RecordingSampler.instead_of(dense.head) for dense in self.heads]
        most = min(MOST_ASSIGNED, len(positions))
        self.chosen = {positions[index * len(positions) // most] for index in range(most)} if self.heads else set()

    @torch.no_grad()
    def count(self, sample: dict) -> None:
        try:
            samples = self.model.data_preprocessor(pseudo_collate([sample]), training=False)["data_samples"]
            for dense in self.heads:
                count_samples(dense, samples)
        except Exception as error:
            # A training step fails at it too, which is found besides.
            self.why, self.heads = described(error), []

    def lines(self) -> list[str]:
        if self.why:
            return [f"anchors matched per object: not counted, {self.why}"]
        some = f" (in {len(self.chosen)} of {self.available:,} images)" if len(self.chosen) < self.available else ""
        return [recorder.line(dense, some) for dense, recorder in zip(self.heads, self.recorders)]


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

    def line(self, dense: DenseHead, some: str) -> str:
        if not self.matched:
            return f"anchors matched per object: not counted, {dense} assigns no anchors to objects."
        few = sum(count == 0 for count in self.matched)
        return (
            f"anchors matched per object{some}, {dense}: mean {statistics.mean(self.matched):.1f}, "
            f"median {statistics.median(self.matched):g}, least {min(self.matched)}, most {max(self.matched)}; "
            f"{few:,} of {len(self.matched):,} objects without any"
        )
