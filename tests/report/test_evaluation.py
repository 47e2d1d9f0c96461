"""The figures of the report against mmdet's CocoMetric, a naive matching, and cases worked out by hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy
import pytest
import torch
from mmdet.evaluation import CocoMetric

from ghm_mmdet.report.evaluation import (
    BACKGROUND,
    DEFAULT_THRESHOLD,
    DUPLICATE,
    MISPLACED,
    STATISTICS,
    WRONG_CLASS,
    Evaluation,
    best_threshold,
    evaluate,
)
from ghm_mmdet.report.ground_truth import GroundTruth

CLASSES = ("a", "b", "c")


def truth_of(boxes: list[tuple[int, int, list[float], int]], images: int) -> GroundTruth:
    """From (image, label, box, crowd)."""
    entries = [
        {"image_id": image, "category_id": label, "bbox": box, "iscrowd": crowd, "area": box[2] * box[3], "id": number}
        for number, (image, label, box, crowd) in enumerate(boxes, start=1)
    ]
    return GroundTruth(CLASSES, [f"{image}.png" for image in range(images)], entries)


def found(image: int, label: int, box: list[float], score: float) -> dict:
    return {"image_id": image, "category_id": label, "bbox": box, "score": score}


def random_case(seed: int, images: int = 12) -> tuple[GroundTruth, list[dict]]:
    """Objects of all of COCO's sizes, some crowds, class "c" in one image only; detections that are near, or wrong."""
    random = numpy.random.default_rng(seed)
    boxes, detections = [], []
    for image in range(images):
        for _ in range(random.integers(0, 6)):
            label = 2 if image == 3 else int(random.integers(2))
            side = random.choice([12.0, 60.0, 150.0])
            box = [*random.uniform(0, 300, 2), *(side * random.uniform(0.7, 1.4, 2))]
            boxes.append((image, label, [float(value) for value in box], int(random.random() < 0.1)))
            for _ in range(random.integers(0, 3)):
                near = numpy.array(box) + random.normal(0, 0.12 * side, 4)
                other = label if random.random() < 0.8 else int(random.integers(3))
                near = [*near[:2], *numpy.maximum(near[2:], 1)]
                detections.append(found(image, other, [float(v) for v in near], round(float(random.random()), 2)))
    return truth_of(boxes, images), detections


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_statistics_are_those_of_mmdet(seed: int, tmp_path: Path) -> None:
    truth, detections = random_case(seed)
    content = {
        "images": [
            {"id": image, "height": 500, "width": 500, "file_name": path} for image, path in enumerate(truth.paths)
        ],
        "categories": [{"id": label, "name": name} for label, name in enumerate(CLASSES)],
        "annotations": truth.annotations,
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    items = ["mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l", "AR@100", "AR@300", "AR@1000"]
    metric = CocoMetric(str(tmp_path / "annotations.json"), metric="bbox", metric_items=items)
    metric.dataset_meta = {"classes": CLASSES}
    for image in range(len(truth.paths)):
        own = [detection for detection in detections if detection["image_id"] == image]
        boxes = torch.tensor([detection["bbox"] for detection in own], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        instances = {
            "bboxes": boxes,
            "scores": torch.tensor([detection["score"] for detection in own], dtype=torch.float64),
            "labels": torch.tensor([detection["category_id"] for detection in own], dtype=torch.int64),
        }
        metric.process({}, [{"img_id": image, "ori_shape": (500, 500), "pred_instances": instances}])
    expected = metric.compute_metrics(metric.results)
    statistics = evaluate(truth, detections, None).statistics
    assert 0.05 < expected["bbox_mAP"] < 0.95
    for name in STATISTICS[:6]:
        assert statistics[name] == pytest.approx(expected[f"bbox_{name}"], abs=5.1e-4), name
    assert statistics["AR@100"] == pytest.approx(expected["bbox_AR@100"], abs=5.1e-4)


def iou(one: list[float], other: list[float]) -> float:
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def naive_counts(truth: GroundTruth, detections: list[dict], threshold: float) -> tuple[int, int, int]:
    """Right detections, false detections and missed objects: best score first, each takes its best free object."""
    right = false = 0
    objects = [entry for entry in truth.annotations if not entry["iscrowd"]]
    for image, label in itertools.product(range(len(truth.paths)), range(len(CLASSES))):
        free = [e for e in objects if (e["image_id"], e["category_id"]) == (image, label)]
        own = [d for d in detections if (d["image_id"], d["category_id"]) == (image, label)]
        for detection in sorted(own, key=lambda d: -d["score"]):
            if detection["score"] < threshold:
                continue
            best = max(free, key=lambda entry: iou(entry["bbox"], detection["bbox"]), default=None)
            if best is not None and iou(best["bbox"], detection["bbox"]) >= 0.5:
                free.remove(best)
                right += 1
            else:
                false += 1
    return right, false, len(objects) - right


def counts(evaluation: Evaluation) -> tuple[int, int, int]:
    shown = [detection for image in evaluation.images for detection in image.detections]
    false = sum(detection.mistake is not None for detection in shown)
    return len(shown) - false, false, sum(len(image.missed) for image in evaluation.images)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.72, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_matching_is_the_naive_one(seed: int, threshold: float) -> None:
    truth, detections = random_case(seed)
    truth.annotations = [{**entry, "iscrowd": 0} for entry in truth.annotations]
    evaluation = evaluate(truth, detections, threshold)
    right, false, missed = naive_counts(truth, detections, threshold)
    assert counts(evaluation) == (right, false, missed)
    statistics = evaluation.statistics
    assert statistics["recall"] == right / (right + missed)
    assert statistics["precision"] == (right / (right + false) if right + false else None)
    assert statistics["f1"] == pytest.approx(2 * right / (2 * right + false + missed))


@pytest.mark.parametrize("seed", range(4))
def test_chosen_threshold_has_the_highest_f1(seed: int) -> None:
    truth, detections = random_case(seed)
    truth.annotations = [{**entry, "iscrowd": 0} for entry in truth.annotations]
    evaluation = evaluate(truth, detections, None)

    def f1(threshold: float) -> float:
        right, false, missed = naive_counts(truth, detections, threshold)
        return 2 * right / (2 * right + false + missed)

    best = max(f1(detection["score"]) for detection in detections)
    assert f1(evaluation.threshold) == pytest.approx(best)
    assert evaluation.statistics["f1"] == pytest.approx(best)


def test_threshold_does_not_part_equal_scores() -> None:
    scores, hits = numpy.array([0.9, 0.5, 0.5, 0.5]), numpy.array([True, True, False, False])
    # At 0.9: 2 / (1 + 2); at 0.5: 4 / (4 + 2), the same; were the first 0.5 cut off from the others: 4 / (2 + 2).
    assert best_threshold(scores, hits, 2) == 0.9
    assert best_threshold(numpy.array([0.8]), numpy.array([False]), 2) == DEFAULT_THRESHOLD
    assert best_threshold(numpy.array([]), numpy.array([], dtype=bool), 0) == DEFAULT_THRESHOLD


def test_kinds_of_mistakes_and_cost() -> None:
    box, far = [10.0, 10.0, 40.0, 40.0], [200.0, 200.0, 30.0, 30.0]
    shifted = [10.0, 35.0, 40.0, 40.0]  # IoU 15 / 65
    truth = truth_of([(0, 0, box, 0), (1, 1, far, 0), (1, 0, box, 1)], 3)
    detections = [
        found(0, 0, box, 0.9),
        found(0, 0, [10.0, 11.0, 40.0, 40.0], 0.8),
        found(0, 1, box, 0.7),
        found(0, 0, shifted, 0.6),
        found(0, 2, far, 0.5),
        found(1, 0, box, 0.95),  # in the crowd: neither right nor false
        found(1, 1, far, 0.2),  # below the threshold
        found(2, 2, far, 0.85),  # an image without objects
    ]
    evaluation = evaluate(truth, detections, 0.3)
    kinds = [[detection.mistake for detection in image.detections] for image in evaluation.images]
    assert sorted(kinds[0], key=str) == sorted([None, DUPLICATE, WRONG_CLASS, MISPLACED, BACKGROUND], key=str)
    assert {d.score: d.mistake for d in evaluation.images[0].detections} == {
        0.9: None, 0.8: DUPLICATE, 0.7: WRONG_CLASS, 0.6: MISPLACED, 0.5: BACKGROUND
    }  # fmt: skip
    assert kinds[1:] == [[], [BACKGROUND]]
    assert [[entry["category_id"] for entry in image.missed] for image in evaluation.images] == [[], [1], []]
    assert [image.cost for image in evaluation.images] == pytest.approx([2.6, 1.0, 0.85])


def test_without_detections_or_objects() -> None:
    evaluation = evaluate(truth_of([(0, 1, [1.0, 1.0, 9.0, 9.0], 0)], 1), [], None)
    assert (evaluation.statistics["mAP"], evaluation.statistics["recall"]) == (0, 0)
    assert evaluation.statistics["precision"] is None
    assert evaluation.class_ap == [(None, None), (0, 0), (None, None)]
    assert [image.cost for image in evaluation.images] == [1]
    nothing = evaluate(truth_of([], 1), [found(0, 0, [1.0, 1.0, 9.0, 9.0], 0.5)], None)
    assert nothing.statistics["mAP"] is None
    assert [detection.mistake for detection in nothing.images[0].detections] == [BACKGROUND]
