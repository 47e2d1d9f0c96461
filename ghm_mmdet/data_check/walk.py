"""One walk over the data of a config: its files, what its data sets yield after their own filters, its evaluators."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import BaseDataset, DefaultSampler
from mmengine.runner import Runner
from torch.utils.data import BatchSampler

from ghm_mmdet.coco import quiet
from ghm_mmdet.config import build_part, evaluates_masks, evaluators_of, leaves
from ghm_mmdet.data_check.annotation_files import (
    AnnotationFile,
    category_names,
    coco_content,
    format_of,
    is_segmentation,
    parse_json,
    quoted,
    read_annotations,
    read_coco,
    shown,
)
from ghm_mmdet.data_check.findings import Findings, Kind
from ghm_mmdet.data_check.model_keys import check_data_set_keys
from ghm_mmdet.errors import UserError, in_words, other_than_file

# COCO's limits of a small and a medium object.
SMALL, MEDIUM = 32**2, 96**2
MOST_UNPACKED = 500
WORLD_SIZE = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}


@dataclass
class Part:
    """One data set with files of its own.

    places: the entries of the config that describe it; phases: those it is for.
    path: of the annotation file.
    note: why it was not looked at, else empty.
    classes: as the config names them; labels: as mmdet numbers them.
    file: what its annotation file holds, None for formats that are unknown here.
    data_set: loaded; None where something breaks.
    objects, left_out: by class, what the data set yields to learn from; and what is marked to be ignored.
    """

    places: list[str]
    phases: list[str]
    source: str
    path: str = ""
    note: str = ""
    classes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    file: AnnotationFile | None = None
    data_set: Any = None
    images: int = 0
    without_objects: int = 0
    objects: Counter = field(default_factory=Counter)
    ignored: int = 0
    sizes: Counter = field(default_factory=Counter)
    dropped_by_transforms: Counter = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    @property
    def place(self) -> str:
        return self.places[0]


@dataclass
class Walk:
    """All parts, and what concerns several of them.

    whole: by phase, the data set that the config describes, built over the parts.
    samples: by phase, what it gives first.
    truth: what the annotation files of evaluators hold, by the evaluator's place.
    metrics: the names of what a metric gives, by the evaluator's place.
    """

    parts: list[Part] = field(default_factory=list)
    whole: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, Any] = field(default_factory=dict)
    truth: dict[str, dict] = field(default_factory=dict)
    metrics: dict[str, set[str]] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    def of(self, phase: str) -> list[Part]:
        return [part for part in self.parts if phase in part.phases]

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The class names of each data set with files of its own, by its place in the config."""
        return {place: part.classes for part in self.parts for place in part.places if part.classes}

    @property
    def amounts(self) -> dict[str, str]:
        """What each data set holds, by its place in the config."""
        return {
            place: f"{part.images:,} images with {part.objects.total():,} objects"
            for part in self.parts
            for place in part.places
        }

    @property
    def breaks(self) -> bool:
        return bool(self.findings.breaking or any(part.findings.breaking for part in self.parts))


def walk_data(cfg: Config, phases: tuple[str, ...], largest_file: float = math.inf) -> Walk:
    """Reads the annotations of every data set of the phases, loads it, and compares what comes out with the file.

    Args:
        cfg: the config; its default scope has been entered.
        phases: of "train", "val", "test"; those that the config does not define are passed over.
        largest_file: JSON files of more bytes are not read; their end alone is looked at.

    Raises:
        UserError: a data set or a loader cannot be built from the config. What is wrong with files is a finding.
    """
    return _Walker(cfg, largest_file).walk(phases)


class _Walker:
    def __init__(self, cfg: Config, largest_file: float):
        self.cfg = cfg
        self.largest_file = largest_file
        self.result = Walk()
        self.contents: dict[str, Any] = {}
        self.by_key: dict[str, Part] = {}

    def walk(self, phases: tuple[str, ...]) -> Walk:
        for phase in phases:
            loader = self.cfg.get(f"{phase}_dataloader")
            if loader is None:
                continue
            found = leaves(loader.dataset, f"{phase}_dataloader.dataset")
            parts = {place: self.read_part(place, phase, leaf) for place, leaf in found}
            if all(part.data_set is not None for part in parts.values()):
                self.build_whole(phase, loader, parts)
            self.check_evaluators(phase)
        self.check_label_order()
        train = self.result.of("train")
        looked_at = [part for part in train if not part.note]
        if len(looked_at) == len(train) > 0 and not self.result.breaks and not any(part.objects for part in train):
            for part in train:
                part.findings.add(Kind.NO_OBJECT, _why_no_object(part))
        return self.result

    def read_part(self, place: str, phase: str, leaf: dict) -> Part:
        key = json.dumps(leaf, default=str, sort_keys=True)
        if key in self.by_key:
            part = self.by_key[key]
            part.places.append(place)
            part.phases += [phase] if phase not in part.phases else []
            return part
        part = self.by_key[key] = Part([place], [phase], f"{leaf.get('type')} {leaf.get('ann_file')}")
        self.result.parts.append(part)
        if not isinstance(leaf.get("backend_args") or {}, dict):
            raise UserError(
                f"{place}.backend_args is {leaf['backend_args']!r}, not a dict such as dict(backend='local')"
            )
        data_set = build_part(DATASETS, {**leaf, "lazy_init": True}, place)
        check_data_set_keys(place, leaf, data_set)
        # Files behind another backend (petrel, lmdb, http) are that backend's to check.
        backend = (leaf.get("backend_args") or {}).get("backend", "local")
        if backend not in ("local", "disk") or "://" in f"{leaf.get('data_root')}{leaf.get('ann_file')}":
            part.note = "its files are not on this machine's disk."
        elif not isinstance(data_set, BaseDataset):
            part.note = "it is no BaseDataset of mmengine."
        else:
            self.read_files(part, data_set)
        return part

    def read_files(self, part: Part, data_set: Any) -> None:
        kind = format_of(data_set)
        part.path = os.path.abspath(data_set.ann_file)
        part.source = f"{type(data_set).__name__} {part.path}"
        self.check_classes(part, data_set, kind)
        self.check_paths(part, data_set, kind)
        if part.findings.breaking:
            return
        if kind == "COCO":
            content = self.json_content(data_set.ann_file, part.findings)
            if content is None and not part.findings.breaking:
                part.note = "its annotation file is too large to be read twice."
            if content is None:
                return
            part.file = read_annotations(data_set, part.findings, content)
        elif kind == "VOC":
            part.file = read_annotations(data_set, part.findings)
        part.labels = part.file.labels if part.file else part.classes
        if not part.findings.breaking:
            self.load(part, data_set)

    def check_classes(self, part: Part, data_set: Any, kind: str | None) -> None:
        classes = data_set.metainfo.get("classes")
        entry = f"{part.place}.metainfo.classes"
        if isinstance(classes, (list, tuple)) and classes:
            part.classes = tuple(classes)
            wrong = [name for name in classes if not isinstance(name, str) or not name.strip()]
            twice = [name for name, count in Counter(map(str, classes)).items() if count > 1]
            if wrong or twice:
                part.findings.add(Kind.CLASSES, f"{entry}: {shown((wrong or twice)[0])!r} in {shown(list(classes))}")
        elif isinstance(classes, str):
            # Python reads ('drone') as 'drone'; a tuple of one needs the comma.
            advice = f"Write a list, with a comma behind a single name: metainfo=dict(classes=({classes!r},))."
            part.findings.add(
                Kind.CLASSES, f"{entry} is the text {shown(classes)!r}, and there is no such file", advice
            )
        elif kind is not None or classes is not None:
            part.findings.add(Kind.CLASSES, f"{entry} is {shown(classes)}")

    def check_paths(self, part: Part, data_set: Any, kind: str | None) -> None:
        if data_set.data_root and not os.path.isdir(data_set.data_root):
            self.missing(part, "data root", data_set.data_root, "data_root")
            return
        if (kind or data_set.ann_file) and not os.path.isfile(data_set.ann_file):
            self.missing(part, "annotation file", data_set.ann_file, "ann_file")
        for key, folder in data_set.data_prefix.items():
            if folder and not os.path.isdir(folder):
                self.missing(part, "folder", folder, f"data_prefix.{key}")
        for key in ("img_subdir", "ann_subdir") if kind == "VOC" else ():
            folder = os.path.join(data_set.sub_data_root, getattr(data_set, key))
            if not os.path.isdir(folder):
                self.missing(part, "folder", folder, key)

    def missing(self, part: Part, what: str, path: str, key: str) -> None:
        part.findings.add(Kind.PATH, *missing_path(self.cfg, what, path, f"{part.place}.{key}"))

    def json_content(self, path: str, findings: Findings) -> Any:
        """The content, each file read once; None for one that is broken, which is then a finding, or too large."""
        path = os.path.abspath(path)
        if path not in self.contents:
            self.contents[path] = None
            try:
                if os.path.getsize(path) <= self.largest_file:
                    self.contents[path] = coco_content(path, parse_json(path))
                elif not _end_of(path).endswith((b"}", b"]")):
                    raise UserError(f"the annotation file is cut off: {path}\nCopy or download it again.")
            except UserError as error:
                what, _, advice = str(error).partition("\n")
                findings.add(Kind.ANNOTATION_FILE, what, advice)
        return self.contents[path]

    def load(self, part: Part, data_set: Any) -> None:
        """Lets mmdet read what was found to be whole; its word is final."""
        # Packing an empty list is where mmengine fails, with a message about arrays.
        data_set.serialize_data = False
        try:
            with quiet():
                data_set.full_init()
        except Exception as error:
            # Whatever it raises, training would raise it too.
            part.findings.add(Kind.CANNOT_LOAD, f"{part.source}: {reason_of(error)}")
            return
        if len(data_set) > MOST_UNPACKED:
            # An image's entry is copied object by object each time that it is looked at, unless it is packed.
            data_set.data_bytes, data_set.data_address = data_set._serialize_data()
            data_set.serialize_data = True
        if len(data_set) == 0:
            why = f", filter_cfg={data_set.filter_cfg}" if data_set.filter_cfg else ""
            part.findings.add(Kind.NO_IMAGE, f"{part.source}{why}. {_why_no_object(part)}")
            return
        part.data_set = data_set
        yielded: Counter = Counter()
        for index in range(len(data_set)):
            info = data_set.get_data_info(index)
            yielded[str(info.get("img_path"))] += self.count(part, info.get("instances") or [])
        if part.file is not None:
            self.account(part, yielded)

    def count(self, part: Part, instances: list) -> int:
        learned = [instance for instance in instances if not instance.get("ignore_flag")]
        part.images += 1
        part.without_objects += not learned
        part.ignored += len(instances) - len(learned)
        for instance in learned:
            label, box = instance.get("bbox_label", -1), instance.get("bbox", ())
            part.objects[part.labels[label] if 0 <= label < len(part.labels) else f"label {label}"] += 1
            area = (box[2] - box[0]) * (box[3] - box[1]) if len(box) == 4 else 0
            part.sizes["small" if area < SMALL else "medium" if area < MEDIUM else "large"] += 1
        return len(learned)

    def account(self, part: Part, yielded: Counter) -> None:
        """Names what the data set leaves out, and classes without an object."""
        file, data_set = part.file, part.data_set
        assert file is not None
        # Of a part of the data only mmdet knows which images it is.
        if data_set._indices is None:
            smallest = (data_set.filter_cfg or {}).get("min_size", 0)
            for image in file.images:
                size = image.size
                if image.path not in yielded and image.learned and size is not None and min(size) < smallest:
                    file.left_out[Kind.IMAGE_FILTERED] += image.learned
                    part.findings.add(Kind.IMAGE_FILTERED, f"{image.path}: {shown(size)}, min_size={smallest}")
            rest = file.objects - sum(file.left_out.values()) - part.objects.total()
            if rest > 0:
                file.left_out[Kind.UNACCOUNTED] += rest
                part.findings.add(Kind.UNACCOUNTED, f"{part.source}: {rest} of {file.objects}")
        plain = {_plain(name): name for name in sorted(file.other_names, key=lambda name: file.other_names[name])}
        for name in part.classes:
            if part.objects[name]:
                continue
            near = difflib.get_close_matches(_plain(name), plain, n=1)
            if near:
                other = plain[near[0]]
                hint = f"{shown(name)!r}; the data has {shown(other)!r}, {file.other_names[other]:,} objects"
                part.findings.add(Kind.UNSEEN_CLASS, hint)
            # A file that lists a class knows it; a small set may well be without it.
            elif name not in file.known and not data_set.test_mode and not data_set._indices:
                part.findings.add(Kind.UNSEEN_CLASS, f"{shown(name)!r}")
        if data_set.test_mode and not part.objects:
            part.findings.add(Kind.NOTHING_EVALUATED, _why_no_object(part))

    def build_whole(self, phase: str, loader: dict, parts: dict[str, Part]) -> None:
        """Builds the phase's data set and its loader over the parts; finds whether training has a batch."""
        place = f"{phase}_dataloader"
        whole = self.assemble(loader["dataset"], f"{place}.dataset", parts)
        self.result.whole[phase] = whole
        try:
            built = Runner.build_dataloader({**loader, "dataset": whole}, seed=0)
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            raise UserError(f"{place}: {in_words(error)}") from error
        if phase != "train":
            return
        batches, world_size = built.batch_sampler, self.world_size()
        if len(whole) == 0:
            empty = True
        elif type(batches) is BatchSampler and isinstance(batches.sampler, DefaultSampler):
            share = math.ceil(len(whole) / world_size)
            empty = share < batches.batch_size if batches.drop_last else share == 0
        else:
            empty = next(iter(batches), None) is None
        if empty:
            ranks = f" for {world_size} ranks" if world_size > 1 else ""
            where = f"{place}: {len(whole)} images{ranks}, batch_size={loader.get('batch_size')}, drop_last"
            self.result.findings.add(Kind.NO_BATCH, where)
        for key in ("max_epochs", "max_iters"):
            most = (self.cfg.get("train_cfg") or {}).get(key)
            if isinstance(most, (int, float)) and most < 1:
                self.result.findings.add(Kind.NO_BATCH, f"train_cfg.{key} is {most}", f"Set train_cfg.{key}.")

    def world_size(self) -> int:
        variable = WORLD_SIZE.get(self.cfg.get("launcher", "none"))
        return int(os.environ.get(variable, 1)) if variable else 1

    def assemble(self, entry: dict, place: str, parts: dict[str, Part]) -> Any:
        filled = self.fill(entry, place, parts)
        if not isinstance(filled, dict):
            return filled
        built = build_part(DATASETS, filled, place)
        if hasattr(built, "full_init"):
            built.full_init()
        return built

    def fill(self, entry: dict, place: str, parts: dict[str, Part]) -> Any:
        """The entry with its parts as they were read; wrappers stay configs, since wrappers take no built wrapper."""
        if place in parts:
            return parts[place].data_set
        entry = dict(entry)
        if "dataset" in entry:
            entry["dataset"] = self.fill(entry["dataset"], f"{place}.dataset", parts)
        else:
            inner = enumerate(entry["datasets"])
            entry["datasets"] = [self.fill(part, f"{place}.datasets.{index}", parts) for index, part in inner]
        return entry

    def check_label_order(self) -> None:
        """The same label must be the same class in all parts; a part may lack classes at the end."""
        parts = [part for part in self.result.parts if part.labels and not part.findings.breaking]
        for part in parts[1:]:
            first = parts[0]
            if any(one != other for one, other in zip(first.labels, part.labels)):
                where = f"{shown(list(first.labels))} in {first.place} ({first.source})"
                self.result.findings.add(
                    Kind.CLASS_ORDER, f"{shown(list(part.labels))} in {part.place} ({part.source}), but {where}"
                )

    def check_evaluators(self, phase: str) -> None:
        """Looks at the evaluator's file: it must have the data's images, their categories, and whole entries."""
        findings, parts = self.result.findings, self.result.of(phase)
        for name, evaluator in evaluators_of(self.cfg, phase):
            path = evaluator.get("ann_file")
            if not isinstance(path, str) or "://" in path:
                continue
            if not os.path.isfile(path):
                findings.add(Kind.PATH, *missing_path(self.cfg, "annotation file", path, f"{name}.ann_file"))
                continue
            content = self.json_content(path, findings) if path.endswith(".json") else None
            if content is None or "Coco" not in str(evaluator.get("type")):
                continue
            if all(isinstance(entry, dict) for entry in (*content["images"], *content["annotations"])):
                self.result.truth[name] = content
                self.check_truth(name, evaluator, content)
            looked_at = [part for part in parts if part.file is not None and format_of(part.data_set) == "COCO"]
            for part in looked_at:
                self.check_evaluated(part, content, f"{name}.ann_file", path)
            if looked_at == parts and not findings.breaking:
                tested = set[Any]().union(*map(_image_ids, parts))
                for image in content["images"]:
                    if image["id"] not in tested:
                        where = f"{name}.ann_file ({os.path.abspath(path)}): {shown(image['file_name'])}"
                        findings.add(Kind.NOT_TESTED, where)

    def check_truth(self, name: str, evaluator: dict, content: dict) -> None:
        """Looks at what this metric alone reads of its file, and what the tools cannot number anew in memory."""
        add, path = self.result.findings.add, os.path.abspath(evaluator["ann_file"])
        if evaluator.get("outfile_prefix"):
            ids = [entry["id"] for entry in content["categories"] if isinstance(entry, dict) and "id" in entry]
            if any(isinstance(number, str) for number in ids) or (evaluator.get("classwise") and ids != sorted(ids)):
                where = f"{name} would mix up the category ids {shown(ids)}, with outfile_prefix, in {path}"
                add(Kind.EVALUATOR, where, f"Number them 1, 2, ..., or take {name}.outfile_prefix out.")
        if evaluates_masks(evaluator):
            for number, entry in enumerate(content["annotations"]):
                if not is_segmentation(entry.get("segmentation")):
                    where = f"annotations[{number}]: segmentation is {shown(entry.get('segmentation'))}, in {path}"
                    add(Kind.EVALUATOR, f"{name}, metric segm: {where}")

    def check_evaluated(self, part: Part, content: dict, name: str, path: str) -> None:
        own = self.contents.get(os.path.abspath(part.data_set.ann_file))
        findings = self.result.findings
        if own is not content:
            stand_in = SimpleNamespace(ann_file=path, data_prefix={}, metainfo=part.data_set.metainfo)
            found = Findings()
            read_coco(stand_in, found, content)
            for kind, finding in found.breaking.items():
                for place in finding.places:
                    findings.add(kind, f"{place}, in {os.path.abspath(path)}")
            if found.breaking:
                return
            known = {image["id"] for image in content["images"]}
            tested = _image_ids(part)
            if not tested <= known:
                where = f"{name} lacks {len(tested - known)} of the {len(tested)} images of {part.place}: {path}"
                findings.add(Kind.EVALUATOR, where, f"Set it to the annotation file of {part.place}.")
            elif own is not None:
                self.compare_truth(part, own, content, f"{name} ({os.path.abspath(path)})")
        names = category_names(content, part.classes)
        lacks = [name for name in part.classes if name not in names]
        if lacks:
            findings.add(Kind.EVALUATOR, f"{name} has no category {shown(lacks)}: {os.path.abspath(path)}")
        elif names != part.labels:
            where = f"{shown(list(names))} in {name} ({path}), but {shown(list(part.labels))} in {part.place}"
            findings.add(Kind.CLASS_ORDER, where)

    def compare_truth(self, part: Part, own: dict, content: dict, name: str) -> None:
        """Finds images that two files have under one id, and that are not the same, or do not hold the same objects."""
        theirs, ours = _truth_by_image(content, part.classes), _truth_by_image(own, part.classes)
        for image_id in _image_ids(part):
            (file, objects), (own_file, own_objects) = theirs[image_id], ours[image_id]
            if os.path.basename(file) != os.path.basename(own_file):
                where = f"{name} has {shown(file)} as image {quoted(image_id)}, {part.place} has {shown(own_file)}"
                advice = f"Set it to the annotation file of {part.place}."
                self.result.findings.add(Kind.EVALUATOR, where, advice)
            elif objects != own_objects:
                other = (objects - own_objects).total() + (own_objects - objects).total()
                where = f"{name}: {shown(file)}, {other} objects in one of the two files only"
                self.result.findings.add(Kind.OTHER_TRUTH, where)


def _image_ids(part: Part) -> set:
    return {part.data_set.get_data_info(index).get("img_id") for index in range(len(part.data_set))}


def _truth_by_image(content: dict, classes: tuple[str, ...]) -> dict[Any, tuple[str, Counter]]:
    """By image id, the file's name, and how often it has each class and box."""
    found = {image["id"]: (image["file_name"], Counter[tuple]()) for image in content["images"]}
    names = {category["id"]: category["name"] for category in content["categories"]}
    for entry in content["annotations"]:
        name = names.get(entry["category_id"])
        if entry["image_id"] in found and name in classes:
            found[entry["image_id"]][1][(name, tuple(round(number, 2) for number in entry["bbox"]))] += 1
    return found


def missing_path(cfg: Config, what: str, path: str, entry: str) -> tuple[str, str]:
    """What is said of a path that is not there: it names the config's entry, and what sets it."""
    variables = sorted(set(re.findall(r"\{\{\s*['\"]?\s*\$(\w+)\s*:", cfg.text)))
    setting = f"--cfg-options {entry}=PATH"
    advice = f"Set it with {setting}"
    if variables and not entry.endswith("img_subdir"):
        advice = f"Set the environment variable {' or '.join(variables)} to the folder of the data, or {setting}"
    other = other_than_file(path)
    is_not = f"is {other}, not a {'file' if 'file' in what else 'folder'}" if other else "not found"
    return f"{what} {is_not}: {os.path.abspath(path)} ({entry})", advice


def reason_of(error: Exception) -> str:
    return in_words(error).partition("\n")[0]


def _why_no_object(part: Part) -> str:
    if part.file is None:
        return part.source
    why = [f"{part.file.objects} objects annotated"]
    for kind, count in part.file.left_out.most_common():
        why.append(f"{count} {kind.text if kind else 'crowd, difficult or to be ignored'}")
    firsts = [finding.places[0] for kind, finding in part.findings.by_kind.items() if part.file.left_out[kind]]
    return "; ".join([*why, *(f"first: {first}" for first in firsts[:1])])


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _end_of(path: str) -> bytes:
    with open(path, "rb") as file:
        file.seek(-min(4096, os.path.getsize(path)), os.SEEK_END)
        return file.read().rstrip()
