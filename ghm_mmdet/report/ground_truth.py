"""The annotations of a config's test data in pycocotools' form, whatever format they are stored in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from pycocotools.coco import COCO

from ghm_mmdet.coco import quiet
from ghm_mmdet.config import build_part


@dataclass
class GroundTruth:
    """Images are numbered from 0 in the order of the data set, classes in the order of the model's labels.

    paths: of the images.
    annotations: COCO's, with image_id and category_id numbered as above and ids from 1, since pycocotools takes the id
        0 for unmatched.
    """

    classes: tuple[str, ...]
    paths: list[str]
    annotations: list[dict[str, Any]]

    @property
    def fingerprint(self) -> str:
        """The same for the same images with the same objects and classes, wherever they are stored."""
        names = [path.replace("\\", "/").rsplit("/", 1)[-1] for path in self.paths]
        text = json.dumps([self.classes, names, self.annotations])
        return hashlib.sha256(text.encode()).hexdigest()

    def coco(self, annotations: list[dict[str, Any]]) -> COCO:
        """An index over these images and classes, of the objects or of detections."""
        index = COCO()
        index.dataset = {
            "images": [{"id": number} for number in range(len(self.paths))],
            "categories": [{"id": label, "name": name} for label, name in enumerate(self.classes)],
            "annotations": annotations,
        }
        with quiet():
            index.createIndex()
        return index


def read_ground_truth(cfg: Config, phase: str, limit: int | None) -> tuple[GroundTruth, BaseDataset]:
    """Builds the phase's data set and collects its first `limit` images with their objects.

    Where the config's CocoMetric names an annotation file, the objects are that file's, as in tools/test.py; the data
    set itself leaves out some of them (boxes of less than a pixel). Else they are the data set's, those to ignore
    (VOC's difficult ones) as crowds.
    """
    with quiet():
        data_set = build_part(DATASETS, cfg[f"{phase}_dataloader"].dataset, f"{phase}_dataloader.dataset")
    count = len(data_set) if limit is None else min(limit, len(data_set))
    infos = [data_set.get_data_info(index) for index in range(count)]
    paths = [info["img_path"] for info in infos]
    classes = tuple(data_set.metainfo["classes"])
    ann_file = _annotation_file(cfg, phase)
    if ann_file is None:
        entries = [
            {"image_id": image, "category_id": entry["bbox_label"], "bbox": _xywh(entry["bbox"]), **_crowd(entry)}
            for image, info in enumerate(infos)
            for entry in info["instances"]
        ]
    else:
        with quiet():
            coco = COCO(ann_file)
        # mmdet numbers the labels in the file's order.
        labels = {category: label for label, category in enumerate(coco.getCatIds(catNms=classes))}
        classes = tuple(coco.cats[category]["name"] for category in labels)
        entries = [
            {"image_id": image, "category_id": labels[entry["category_id"]], "bbox": entry["bbox"]}
            | {"area": entry["area"], "iscrowd": entry.get("iscrowd", 0)}
            for image, info in enumerate(infos)
            for entry in coco.imgToAnns[info["img_id"]]
            if entry["category_id"] in labels
        ]
    for number, entry in enumerate(entries, start=1):
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])
        entry["id"] = number
    return GroundTruth(classes, paths, entries), data_set


def _annotation_file(cfg: Config, phase: str) -> str | None:
    evaluators = cfg.get(f"{phase}_evaluator") or []
    for evaluator in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
        if str(evaluator.get("type")).split(".")[-1] == "CocoMetric" and evaluator.get("ann_file"):
            return evaluator["ann_file"]
    return None


def _xywh(corners: list[float]) -> list[float]:
    left, top, right, bottom = map(float, corners)
    return [left, top, right - left, bottom - top]


def _crowd(entry: dict) -> dict[str, int]:
    return {"iscrowd": int(bool(entry.get("ignore_flag")))}
