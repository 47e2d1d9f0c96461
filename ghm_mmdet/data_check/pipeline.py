"""Images and objects on their way through a data set's own pipeline, step by step, as training will send them."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import numpy
import torch
from mmdet.registry import METRICS
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from PIL import Image, UnidentifiedImageError
from torch.utils.data import DataLoader, Dataset

from ghm_mmdet.coco import quiet
from ghm_mmdet.config import build_part, evaluates_masks, evaluators_of
from ghm_mmdet.data_check.annotation_files import shown
from ghm_mmdet.data_check.findings import Kind
from ghm_mmdet.data_check.walk import Part, Walk, reason_of
from ghm_mmdet.errors import UserError, other_than_file
from ghm_mmdet.hooks.ground_truth_ids_hook import number_ground_truth
from ghm_mmdet.prior import random_state_of_its_own

# EXIF's orientations that swap width and height.
TURNED = (5, 6, 7, 8)
MOST_HEADERS = 2000
MOST_SUSPECTED = 20
META_KEYS = "meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')"

Progress = Callable[[Iterable, str, int], Iterable]


@dataclass
class Passed:
    """What became of one image.

    problem: what stopped it, with the reason.
    objects: to learn from, that come out; dropped: how many each transform took, by its place in the pipeline.
    warnings: what is suspicious of the image file.
    sample: what the detector gets, where it was asked for.
    """

    problem: tuple[Kind, str] | None = None
    objects: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    warnings: list[tuple[Kind, str]] = field(default_factory=list)
    sample: Any = None


def pass_image(part: Part, index: int, with_files: bool = False, with_sample: bool = False) -> Passed:
    """Sends one image of a data set through its pipeline.

    Args:
        part: with its data set.
        index: of the image.
        with_files: whether to look at the image file too for what a decoder hides.
        with_sample: whether to return what comes out.
    """
    data_set, passed = part.data_set, Passed()
    result = data_set.get_data_info(index)
    path = str(result.get("img_path"))
    annotated, size = (result.get("width"), result.get("height")), None
    instances = [box for box in result.get("instances") or [] if not box.get("ignore_flag")]
    passed.objects = len(instances)
    transforms = getattr(data_set.pipeline, "transforms", [data_set.pipeline])
    for number, transform in enumerate(transforms):
        try:
            result = transform(result)
        except Exception as error:
            # Whatever it raises, training would raise it too.
            passed.problem = _problem(error, os.path.abspath(path), f"{type(transform).__name__}: ")
            return passed
        if size is None and result is not None and isinstance(result.get("img"), numpy.ndarray):
            size = result["img"].shape[1::-1]
            passed.warnings += _look_at_file(path, annotated, size, transform, with_files)
        left = 0 if result is None else _count(result, passed.objects)
        if left < passed.objects:
            passed.dropped[f"{number} ({type(transform).__name__})"] = passed.objects - left
            passed.objects = left
        if result is None:
            return passed
    # Augmentation at test time gives a list of samples.
    if isinstance(result, dict) and hasattr(result.get("data_samples"), "gt_instances"):
        boxes = getattr(result["data_samples"].gt_instances, "bboxes", None)
        if boxes is not None and not data_set.test_mode and not _have_area(get_box_tensor(boxes)):
            passed.problem = Kind.NO_AREA, f"{os.path.abspath(path)}{_flat_box(instances, size or annotated)}"
        elif with_sample:
            passed.sample = result
    return passed


def _flat_box(instances: list, size: tuple) -> str:
    """The first annotated box without an area in the image, in words."""
    for box in (instance["bbox"] for instance in instances if "bbox" in instance):
        if box[2] <= box[0] or box[3] <= box[1] or not _meets(box, size):
            return f", box {shown(list(box))} (x1, y1, x2, y2, pixels from 0)"
    return ""


def _problem(error: Exception, place: str, step: str = "") -> tuple[Kind, str]:
    reason = reason_of(error)
    if isinstance(error, FileNotFoundError):
        return Kind.IMAGE_MISSING, place
    for sign in ("cannot decode the image", "failed to load image", "imdecode", "image file is empty"):
        if sign in f"{reason}{error}":
            return Kind.IMAGE_BROKEN, place
    return Kind.PIPELINE, f"{place}: {step}{reason}"


def _count(result: dict, before: int) -> int:
    """Objects to learn from; as many as before where the result holds none yet."""
    if "data_samples" in result:
        return len(getattr(result["data_samples"], "gt_instances", ()))
    if "gt_bboxes" not in result:
        return before
    flags = result.get("gt_ignore_flags")
    return len(result["gt_bboxes"]) if flags is None else int((~numpy.asarray(flags, bool)).sum())


def _have_area(boxes: torch.Tensor) -> bool:
    if boxes.shape[-1] != 4:
        return True
    sides = boxes[:, 2:] - boxes[:, :2]
    return bool((torch.isfinite(sides) & (sides > 0)).all())


def image_head(path: str) -> tuple[tuple[int, int], int] | None:
    """(width, height) and EXIF's orientation from the head of a file, None where pillow does not know its format."""
    if other_than_file(path):
        return None
    try:
        with Image.open(path) as image:
            return image.size, image.getexif().get(0x0112, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _look_at_file(path: str, annotated: tuple, size: tuple, transform: Any, with_files: bool) -> list[tuple[Kind, str]]:
    head = image_head(path)
    orientation = head[1] if head else 1
    differs = None not in annotated and tuple(annotated) != tuple(size)
    loader = str(getattr(transform, "color_type", "unchanged"))
    ignores = "ignore_orientation" in loader or loader == "unchanged"
    found = []
    place = f"{os.path.abspath(path)}: annotated {shown(annotated)}, loaded as {shown(tuple(size))}"
    if orientation in range(2, 9) and (differs or (not ignores and orientation not in TURNED)):
        found.append((Kind.ORIENTATION, f"{place}, EXIF orientation {orientation}"))
    elif differs:
        found.append((Kind.IMAGE_SIZE, place))
    damage = _damage(path) if with_files else None
    if damage:
        found.append((Kind.CUT_OFF, f"{os.path.abspath(path)}: {damage}"))
    return found


def _damage(path: str) -> str | None:
    """What pillow says of a file that it cannot read to the end, where OpenCV fills in grey and says nothing."""
    try:
        with Image.open(path) as image:
            # A JPEG can be decoded at an eighth of its size, which is quick.
            image.draft("L", (1, 1))
            image.load()
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return None
    except (OSError, SyntaxError, ValueError) as error:
        return shown(str(error))
    return None


def find_missing_images(part: Part) -> set[int]:
    """Finds images whose files are not there or empty, unless the pipeline takes them from somewhere else."""
    data_set = part.data_set
    paths = [str(data_set.get_data_info(index).get("img_path")) for index in range(len(data_set))]
    sizes = _file_sizes(paths)
    gone = [index for index, path in enumerate(paths) if not sizes.get(path)]
    others = {index: other for index in gone if (other := other_than_file(paths[index]))}
    # Which is not to be opened.
    first = next((index for index in gone if index not in others), None)
    if first is not None and pass_image(part, first).problem is None:
        gone = [*others]
    for index in gone:
        path = os.path.abspath(paths[index])
        empty = sizes.get(paths[index]) == 0
        if index in others:
            part.findings.add(Kind.IMAGE_MISSING, f"{path} is {others[index]}, not a file")
        else:
            part.findings.add(Kind.IMAGE_EMPTY if empty else Kind.IMAGE_MISSING, path, "" if empty else _beside(path))
    return set(gone)


def suspected_images(part: Part, most: int) -> list[int]:
    """Images that may go wrong, for boxes without an area or another size of the file; and two more."""
    data_set = part.data_set
    found, step = [], math.ceil(len(data_set) / MOST_HEADERS)
    for index in range(len(data_set)):
        info = data_set.get_data_info(index)
        path, size = str(info.get("img_path")), (info.get("width"), info.get("height"))
        head = image_head(path) if index % step == 0 else None
        turned = head is not None and (head[1] != 1 or (None not in size and head[0] != size))
        learned = [box["bbox"] for box in info.get("instances") or [] if not box.get("ignore_flag") and "bbox" in box]
        flat = any(box[2] <= box[0] or box[3] <= box[1] or not _meets(box, size) for box in learned)
        if turned or (flat and not data_set.test_mode):
            found.append(index)
    return [*found[:most], *{0, len(data_set) // 2}.difference(found[:most])]


def _meets(box: list, size: tuple) -> bool:
    width, height = size
    return None in size or (max(box[0], 0) < min(box[2], width) and max(box[1], 0) < min(box[3], height))


def _file_sizes(paths: list[str]) -> dict[str, int]:
    """The sizes of those that are files; each folder is listed once, for speed."""
    sizes: dict[str, int] = {}
    for folder in {os.path.dirname(path) for path in paths}:
        # A name with a null character is a ValueError.
        with contextlib.suppress(OSError, ValueError), os.scandir(folder or ".") as files:
            for file in files:
                # A link that goes round in a circle.
                with contextlib.suppress(OSError):
                    if file.is_file():
                        sizes[os.path.join(folder, file.name)] = file.stat().st_size
    return sizes


def _beside(path: str) -> str:
    """What to do about an image that is not there but has a file of nearly its name beside it."""
    folder, name = os.path.split(path)
    if "\\" in name:
        return "Its name has backslashes, which are no folders here: write / in file_name."
    stem, ending = os.path.splitext(name)
    with contextlib.suppress(OSError, ValueError):
        others = [other for other in sorted(os.listdir(folder)) if other != name]
        for other in others:
            if _plain(other) == _plain(name) and other.casefold() != name.casefold():
                return f"{other!r} is there, {name!r} is asked for: write the file's own name into the annotations."
        for other in others:
            if os.path.splitext(other)[0].casefold() == stem.casefold():
                return (
                    f"{other} is beside it, but {ending} is asked for (in VOC's format always): rename or link it, "
                    f"ln -s {other} {name}. The content decides how it is decoded."
                )
    return ""


def _plain(name: str) -> str:
    """A name without what differs between file systems, web addresses and lists: accents, %20, case, spaces."""
    return unicodedata.normalize("NFC", unquote(name)).strip().casefold()


class _Images(Dataset):
    """Images of several parts, each passed through its pipeline."""

    def __init__(self, items: list[tuple[Part, int]], with_sample: set[int]):
        self.items = items
        self.with_sample = with_sample

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> Passed:
        part, index = self.items[position]
        return pass_image(part, index, with_files=True, with_sample=position in self.with_sample)


def _single(items: list) -> Any:
    return items[0]


def pass_images(items: list[tuple[Part, int]], workers: int, with_sample: set[int]) -> Iterable[Passed]:
    """As :func:`pass_image` for each item, in order, by several processes."""
    loader: DataLoader = DataLoader(_Images(items, with_sample), num_workers=workers, collate_fn=_single)
    with random_state_of_its_own(0):
        yield from loader


def record(part: Part, passed: Passed) -> None:
    """Notes in the part what became of one of its images."""
    if passed.problem:
        kind, where = passed.problem
        part.findings.add(kind, where)
    for kind, where in passed.warnings:
        part.findings.add(kind, where)
    part.dropped_by_transforms.update(Counter(passed.dropped))


def try_some_images(cfg: Config, walk: Walk, phase: str) -> None:
    """Sends suspected images of a phase through their pipelines; of training data, until an object comes out."""
    with random_state_of_its_own(0):
        objects = 0
        for part in walk.of(phase):
            gone = find_missing_images(part)
            sample = None
            for index in suspected_images(part, MOST_SUSPECTED):
                if index not in gone:
                    passed = pass_image(part, index, with_sample=True)
                    record(part, passed)
                    objects += passed.objects
                    sample = sample or passed.sample
            try_evaluators(cfg, walk, part, sample)
        find_not_packed(walk, phase)
        if phase == "train" and not walk.breaks:
            find_nothing_learned(walk, objects or sum(map(_first_objects, walk.of(phase))))


def _first_objects(part: Part) -> int:
    """How many objects come out of the first image of which any do."""
    for index in range(len(part.data_set)):
        if any(not box.get("ignore_flag") for box in part.data_set.get_data_info(index).get("instances") or []):
            passed = pass_image(part, index)
            record(part, passed)
            if passed.objects or passed.problem:
                return passed.objects
    return 0


def find_not_packed(walk: Walk, phase: str) -> None:
    """Finds that the pipelines of a phase give something else than what a detector takes."""
    whole, place = walk.whole.get(phase), f"{phase}_dataloader.dataset"
    if not whole or walk.breaks:
        return
    try:
        sample = whole[0]
    except Exception as error:
        walk.findings.add(*_problem(error, f"{place}[0]"))
        return
    walk.samples[phase] = sample
    lacks = [key for key in ("inputs", "data_samples") if key not in sample] if isinstance(sample, dict) else []
    if lacks:
        where = f"{place} gives no {' and no '.join(lacks)}"
        walk.findings.add(
            Kind.PIPELINE, where, "Let its pipeline begin with LoadImageFromFile and end with PackDetInputs."
        )


def find_nothing_learned(walk: Walk, objects: int) -> None:
    """Finds that no object comes out of the pipelines of the training data, or out of a wrapper's (a mosaic's, ...)."""
    whole, parts = walk.whole.get("train"), walk.of("train")
    if whole is None or walk.breaks:
        return
    if objects and hasattr(whole, "pipeline") and not any(whole is part.data_set for part in parts):
        objects = 0
        for index in range(min(len(whole), MOST_SUSPECTED)):
            try:
                objects += _count(whole[index], 0)
            except Exception as error:
                walk.findings.add(*_problem(error, f"train_dataloader.dataset[{index}]"))
    if not objects:
        steps = [
            f"{count} by {part.place}.pipeline.{step}"
            for part in parts
            for step, count in part.dropped_by_transforms.items()
        ]
        walk.findings.add(Kind.NO_OBJECT, f"the transforms drop all of them: {', '.join(steps)}")


def try_evaluators(cfg: Config, walk: Walk, part: Part, sample: dict | None) -> None:
    """Lets mmdet's metrics evaluate one image with a detection, where they would fail after an epoch only."""
    if sample is None:
        return
    found = sample["data_samples"]
    detection = dict(bboxes=torch.tensor([[0.0, 0, 9, 9]]), labels=torch.tensor([0]), scores=torch.ones(1))
    for name, evaluator in [entry for phase in part.phases if phase != "train" for entry in evaluators_of(cfg, phase)]:
        if str(evaluator.get("type")).split(".")[-1] not in ("CocoMetric", "VOCMetric"):
            continue
        given = {**found.to_dict(), "pred_instances": dict(detection)}
        if evaluates_masks(evaluator) and "ori_shape" in found:
            given["pred_instances"]["masks"] = torch.ones(1, *found.ori_shape[:2], dtype=torch.bool)
        try:
            walk.metrics[name] = _evaluate(evaluator, name, walk.truth.get(name), part.data_set.metainfo, given)
        except UserError:
            raise
        except Exception as error:
            advice = f"Let the pipeline of {part.place} give it: LoadAnnotations, and PackDetInputs with {META_KEYS}."
            lacks = str(error).strip("'\"")
            packed = lacks in META_KEYS or lacks.endswith("instances")
            where = f"{name} ({evaluator['type']}): {reason_of(error)}"
            walk.findings.add(Kind.EVALUATOR, where, advice if packed else "")


def _evaluate(evaluator: dict, name: str, truth: dict | None, metainfo: dict, given: dict) -> set[str]:
    """Evaluates one image with its own ground truth alone, without a word; returns the names of what comes out."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    with tempfile.TemporaryDirectory() as folder, quiet():
        entry = {key: value for key, value in evaluator.items() if key not in ("outfile_prefix", "format_only")}
        if "ann_file" in evaluator:
            entry["ann_file"] = None
        if truth is not None and "img_id" in given:
            own = {
                "images": [image for image in truth["images"] if image.get("id") == given["img_id"]],
                "annotations": [one for one in truth["annotations"] if one.get("image_id") == given["img_id"]],
                "categories": truth["categories"],
            }
            entry["ann_file"] = os.path.join(folder, "truth.json")
            with open(entry["ann_file"], "w", encoding="utf-8") as file:
                json.dump(own, file)
        elif evaluator.get("ann_file"):
            # Its file was too large to be read twice.
            given.setdefault("instances", [])
        metric = build_part(METRICS, entry, name)
        metric.dataset_meta = metainfo
        number_ground_truth(Evaluator(metric))
        logger.setLevel(logging.CRITICAL + 1)
        try:
            metric.process({}, [given])
            return {f"{metric.prefix}/{key}" for key in metric.compute_metrics(metric.results)}
        finally:
            logger.setLevel(level)
