"""Detections that are the ground truth have AP 1 whatever the ids of the ground truth are."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmengine.evaluator import Evaluator
from tools.running import CLASSES, write_shapes

from ghm_mmdet.hooks import GroundTruthIdsHook

CHANGES = {
    "as they are": lambda content: None,
    "from 0": lambda content: [entry.update(id=entry["id"] - 1) for entry in content["annotations"]],
    "texts": lambda content: [entry.update(id=f"a{entry['id']}") for entry in content["annotations"]],
    "texts and numbers": lambda content: content["annotations"][0].update(id="one"),
    "0 alone": lambda content: content["annotations"][4].update(id=0),
    "no iscrowd": lambda content: [entry.pop("iscrowd") for entry in content["annotations"]],
    "iscrowd null": lambda content: content["annotations"][0].update(iscrowd=None),
    "text categories": lambda content: [
        *(entry.update(category_id=f"c{entry['category_id']}") for entry in content["annotations"]),
        *(entry.update(id=f"c{entry['id']}") for entry in content["categories"]),
    ],
    "text images": lambda content: [
        *(entry.update(image_id=f"i{entry['image_id']}") for entry in content["annotations"]),
        *(entry.update(id=f"i{entry['id']}") for entry in content["images"]),
    ],
    "fractions": lambda content: [entry.update(id=entry["id"] / 2) for entry in content["annotations"]],
    "negative": lambda content: [entry.update(id=-entry["id"]) for entry in content["annotations"]],
    "categories in another order": lambda content: content["categories"].reverse(),
}


def evaluate(path: Path, content: dict[str, Any], leave_out: str | None) -> dict[str, float]:
    """With all objects found but those of one class; the hook as the tools add it."""
    metric = CocoMetric(str(path), classwise=True)
    metric.dataset_meta = {"classes": CLASSES}
    evaluator = Evaluator(metric)
    GroundTruthIdsHook().before_test(SimpleNamespace(test_evaluator=evaluator))
    names = [category["name"] for category in content["categories"]]
    labels = {category["id"]: label for label, category in enumerate(content["categories"])}
    for image in content["images"]:
        found = [
            entry
            for entry in content["annotations"]
            if entry["image_id"] == image["id"] and names[labels[entry["category_id"]]] != leave_out
        ]
        boxes = torch.tensor([entry["bbox"] for entry in found], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        detections = dict(
            bboxes=boxes,
            scores=torch.ones(len(found)),
            labels=torch.tensor([labels[entry["category_id"]] for entry in found]),
        )
        metric.process({}, [dict(img_id=image["id"], ori_shape=(64, 64), pred_instances=detections)])
    return metric.compute_metrics(metric.results)


@pytest.mark.parametrize("change", CHANGES)
def test_perfect_detections(change, tmp_path):
    write_shapes(tmp_path / "data", 3)
    content = json.loads((tmp_path / "data" / "annotations.json").read_text())
    CHANGES[change](content)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    assert evaluate(path, content, None)["bbox_mAP"] == 1
    without_bars = evaluate(path, content, "bar")
    assert without_bars["bbox_mAP"] == pytest.approx(2 / 3, abs=1e-3)
    assert [without_bars[f"{name}_precision"] for name in CLASSES] == [1, 1, 0]
