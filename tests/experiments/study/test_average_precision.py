"""AP in parts against mmdet's CocoMetric and against cases that can be counted by hand."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from mmdet.evaluation import CocoMetric

from ghm_mmdet.experiments.study.average_precision import average_precision

NAMES = ("cat", "dog")


def write(tmp_path, boxes: list[tuple], detections: list[tuple]):
    """Boxes as (image, class, x, y, w, h), detections with a score behind."""
    truth = {
        "images": [{"id": image, "width": 640, "height": 480, "file_name": f"{image}.jpg"} for image in range(4)],
        "categories": [{"id": index, "name": name} for index, name in enumerate(NAMES)],
        "annotations": [
            {"id": number, "image_id": i, "category_id": c, "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0}
            for number, (i, c, *box) in enumerate(boxes, 1)
        ],
    }
    found = [{"image_id": i, "category_id": c, "bbox": box[:4], "score": box[4]} for i, c, *box in detections]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    return tmp_path / "truth.json", tmp_path / "found.json"


def test_perfect_and_missing_class(tmp_path):
    boxes = [(0, 0, 10, 10, 20, 20), (1, 0, 50, 50, 60, 60), (2, 1, 5, 5, 200, 200)]
    found = average_precision(*write(tmp_path, boxes, [(*box, 0.9) for box in boxes if box[1] == 0]))
    assert found["class"] == {
        "cat": {"AP": 1.0, "AP50": 1.0, "AP75": 1.0},
        "dog": {"AP": 0.0, "AP50": 0.0, "AP75": 0.0},
    }
    assert found["mAP"] == found["AP50"] == found["AP75"] == 0.5
    # One cat is small, one medium, the dog is large.
    assert found["size"] == {"small": 1.0, "medium": 1.0, "large": 0.0}


def test_a_shifted_box_counts_up_to_its_iou(tmp_path):
    # Shifted by 2 of 20 pixels: IoU 18 / 22 = 0.818.
    found = average_precision(*write(tmp_path, [(0, 0, 10, 10, 20, 20)], [(0, 0, 12, 10, 20, 20, 0.5)]))
    assert {threshold for threshold, value in found["iou"].items() if value == 1.0} == {
        "0.50", "0.55", "0.60", "0.65", "0.70", "0.75", "0.80",
    }  # fmt: skip
    assert found["mAP"] == pytest.approx(0.7)
    assert list(found["class"]) == ["cat"] and list(found["size"]) == ["small"]


def test_nothing_detected(tmp_path):
    found = average_precision(*write(tmp_path, [(0, 0, 10, 10, 20, 20)], []))
    assert found["mAP"] == found["AP50"] == 0.0 and set(found["iou"].values()) == {0.0}


def test_many_threads_leave_standard_output_alone(tmp_path, capsys):
    box = (0, 0, 10, 10, 20, 20)
    files = write(tmp_path, [box], [(*box, 0.9)])
    stdout = sys.stdout
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: average_precision(*files)["mAP"], range(40)))
    assert found == [1.0] * 40
    assert sys.stdout is stdout and capsys.readouterr().out == ""


def test_equal_to_mmdets_metric(tmp_path):
    random = np.random.default_rng(0)
    boxes, detections = [], []
    for image in range(4):
        for _ in range(12):
            box = [*random.uniform(0, 300, 2), *random.uniform(10, 160, 2)]
            kind = int(random.integers(2))
            boxes.append((image, kind, *box))
            shifted = [value + random.normal(0, 6) for value in box]
            detections.append((image, kind, *shifted[:2], *np.abs(shifted[2:]), float(random.random())))
        detections.append((image, 0, 5, 5, 30, 30, 0.7))
    truth, file = write(tmp_path, boxes, detections)
    found = average_precision(truth, file)

    metric = CocoMetric(ann_file=str(truth), classwise=True)
    metric.dataset_meta = {"classes": NAMES}
    metric.cat_ids, metric.img_ids = [0, 1], [0, 1, 2, 3]
    results = []
    for image in range(4):
        own = np.array([(*d[2:4], d[2] + d[4], d[3] + d[5]) for d in detections if d[0] == image])
        kinds = np.array([d[1] for d in detections if d[0] == image])
        scores = np.array([d[6] for d in detections if d[0] == image])
        results.append(({}, {"img_id": image, "bboxes": own, "scores": scores, "labels": kinds}))
    expected = metric.compute_metrics(results)
    assert 0.1 < found["mAP"] < 0.9
    for name, key in (("mAP", "bbox_mAP"), ("AP50", "bbox_mAP_50"), ("AP75", "bbox_mAP_75")):
        assert found[name] == pytest.approx(expected[key], abs=6e-4)
    for size in ("small", "medium", "large"):
        assert found["size"][size] == pytest.approx(expected[f"bbox_mAP_{size[0]}"], abs=6e-4)
    for name in NAMES:
        assert found["class"][name]["AP"] == pytest.approx(expected[f"{name}_precision"], abs=6e-4)
