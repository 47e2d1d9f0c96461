"""COCO's evaluation of a run's detections, and which of them are mistakes.

Average precision, precision-recall curves and the matching of detections with objects are pycocotools' (COCOeval), with
at most 100 detections of a class in an image. What is counted image by image needs an IoU, 0.5, and a threshold on the
scores: where none is given, the score at which the run's F1 is highest, since losses differ in how they spread scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask
from pycocotools.cocoeval import COCOeval

from ghm_mmdet.coco import evaluate_boxes
from ghm_mmdet.report.ground_truth import GroundTruth

# In the order of COCOeval.stats; the names are those of mmdet's log.
STATISTICS = (
    *("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l"),
    *("AR@1", "AR@10", "AR@100", "AR_s", "AR_m", "AR_l"),
)
MATCHING_IOU = 0.5
NEAR_IOU = 0.1
# mmdet's, for a run without one right detection, where F1 is 0 at every score.
DEFAULT_THRESHOLD = 0.3

DUPLICATE = "second detection of one object"
WRONG_CLASS = "wrong class"
MISPLACED = f"box off: IoU below {MATCHING_IOU}"
BACKGROUND = "no object there"


@dataclass
class Detection:
    """A box (x, y, width, height) with its label and score; mistake is None for a right one."""

    box: list[float]
    label: int
    score: float
    mistake: str | None


@dataclass
class ImageResult:
    """What a run made of an image: its detections from the threshold on, and the objects (COCO's entries) it missed."""

    detections: list[Detection] = field(default_factory=list)
    missed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """The scores of the false detections, added up, and 1 for each missed object."""
        return sum(detection.score for detection in self.detections if detection.mistake) + len(self.missed)


@dataclass
class Evaluation:
    """A run's figures.

    statistics: by the names in `STATISTICS`, and precision, recall and f1 at the threshold; None where there is no such
        object.
    class_ap: (AP, AP50) of each class, None where the class has no object.
    precision: at IoU 0.5, of shape [101 recalls from 0 to 1, classes], NaN where the class has no object.
    images: in the order of the data set.
    """

    statistics: dict[str, float | None]
    class_ap: list[tuple[float | None, float | None]]
    precision: np.ndarray
    threshold: float
    images: list[ImageResult]


def evaluate(truth: GroundTruth, detections: list[dict[str, Any]], threshold: float | None) -> Evaluation:
    """
    Args:
        truth: the images and their objects.
        detections: COCO results numbered as in `truth`.
        threshold: of the scores, in [0, 1]; None takes the one at which F1 is highest.
    """
    found = [
        {**detection, "id": number, "iscrowd": 0, "area": detection["bbox"][2] * detection["bbox"][3]}
        for number, detection in enumerate(detections, start=1)
    ]
    coco_eval = evaluate_boxes(truth.coco(truth.annotations), truth.coco(found))
    statistics = {name: _known(value) for name, value in zip(STATISTICS, coco_eval.stats)}
    # Of shape [IoUs, recalls, classes], over all sizes, -1 where the class has no object.
    precision = coco_eval.eval["precision"][:, :, :, 0, -1]
    class_ap = [(_known(ap.mean()), _known(ap[0].mean())) for ap in np.moveaxis(precision, 2, 0)]
    matches = list(_matches(coco_eval))
    hits = np.array([hit for match in matches for hit in match.hits], dtype=bool)
    scores = np.array([detection["score"] for match in matches for detection in match.detections])
    objects = sum(not entry["iscrowd"] for entry in truth.annotations)
    if threshold is None:
        threshold = best_threshold(scores, hits, objects)
    counted = scores >= threshold
    right, claimed = int(hits[counted].sum()), int(counted.sum())
    statistics["precision"] = right / claimed if claimed else None
    statistics["recall"] = right / objects if objects else None
    statistics["f1"] = 2 * right / (claimed + objects) if claimed + objects else None
    images = _image_results(truth, matches, threshold)
    return Evaluation(statistics, class_ap, np.where(precision[0] < 0, np.nan, precision[0]), threshold, images)


def best_threshold(scores: np.ndarray, hits: np.ndarray, objects: int) -> float:
    """The score from which on F1 = 2 TP / (detections + objects) is highest, over all classes together."""
    if not hits.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], hits[order]
    f1 = 2 * hits.cumsum() / (np.arange(1, len(hits) + 1) + objects)
    # A threshold cannot part equal scores.
    f1[:-1][scores[:-1] == scores[1:]] = 0
    return float(scores[f1.argmax()])


def _known(value: float) -> float | None:
    """COCOeval's -1 stands for no objects."""
    return None if value < 0 else float(value)


@dataclass
class Match:
    """Detections and objects of one class in one image, without those to ignore, at the IoU of `MATCHING_IOU`.

    hits: whether each detection has an object.
    scores: of each object's detection, None without one.
    """

    image: int
    detections: list[dict[str, Any]]
    hits: list[bool]
    objects: list[dict[str, Any]]
    scores: list[float | None]


def _matches(coco_eval: COCOeval) -> Iterator[Match]:
    areas, images = len(coco_eval.params.areaRng), len(coco_eval.params.imgIds)
    found, objects = coco_eval.cocoDt.anns, coco_eval.cocoGt.anns
    for index, entry in enumerate(coco_eval.evalImgs):
        # One entry for each class, size and image, in this order; the first size is all sizes.
        if entry is None or index // images % areas:
            continue
        match = Match(entry["image_id"], [], [], [], [])
        for number, other, ignored in zip(entry["dtIds"], entry["dtMatches"][0], entry["dtIgnore"][0]):
            if not ignored:
                match.detections.append(found[number])
                match.hits.append(other > 0)
        for number, other, ignored in zip(entry["gtIds"], entry["gtMatches"][0], entry["gtIgnore"]):
            if not ignored:
                match.objects.append(objects[number])
                match.scores.append(found[int(other)]["score"] if other > 0 else None)
        yield match


def _image_results(truth: GroundTruth, matches: list[Match], threshold: float) -> list[ImageResult]:
    results = [ImageResult() for _ in truth.paths]
    objects: list[list[dict]] = [[] for _ in truth.paths]
    for entry in truth.annotations:
        if not entry["iscrowd"]:
            objects[entry["image_id"]].append(entry)
    for match in matches:
        result = results[match.image]
        for detection, hit in zip(match.detections, match.hits):
            if detection["score"] >= threshold:
                mistake = None if hit else _mistake(detection, objects[match.image])
                values = (detection["bbox"], detection["category_id"], detection["score"], mistake)
                result.detections.append(Detection(*values))
        for entry, score in zip(match.objects, match.scores):
            if score is None or score < threshold:
                result.missed.append(entry)
    return results


def _mistake(detection: dict[str, Any], objects: list[dict[str, Any]]) -> str:
    if not objects:
        return BACKGROUND
    boxes = np.array([entry["bbox"] for entry in objects], dtype=np.float64)
    ious = mask.iou(np.array([detection["bbox"]], dtype=np.float64), boxes, [0] * len(boxes))[0]
    same = np.array([entry["category_id"] == detection["category_id"] for entry in objects])
    of_same, of_other = ious[same].max(initial=0), ious[~same].max(initial=0)
    if of_same >= MATCHING_IOU:
        return DUPLICATE
    if of_other >= MATCHING_IOU:
        return WRONG_CLASS
    return MISPLACED if of_same >= NEAR_IOU else BACKGROUND
