"""Average precision in the parts that a study looks at: per class, IoU and size."""

from __future__ import annotations

from pathlib import Path

import numpy
from pycocotools.coco import COCO

from ghm_mmdet.coco import evaluate_boxes, quiet

SIZES = {"small": 1, "medium": 2, "large": 3}


def average_precision(truth: Path, detections: Path) -> dict:
    """COCO's bounding box AP at up to 100 detections.

    Args:
        truth: annotations in COCO's format.
        detections: results in COCO's format; an empty list is an AP of 0.

    Returns:
        ``mAP``, ``AP50``, ``AP75``; ``iou``: AP by IoU from 0.50 to 0.95; ``size``: AP by object size, without those
        that no object has; ``class``: for each class name its ``AP``, ``AP50`` and ``AP75``. All in [0, 1], rounded to
        six digits.
    """
    with quiet():
        coco = COCO(str(truth))
        empty = detections.read_text(encoding="utf-8").strip() == "[]"
        found = COCO() if empty else coco.loadRes(str(detections))
    evaluation = evaluate_boxes(coco, found)
    # By IoU, recall, class, size and number of detections; -1 where there is no object.
    precision = evaluation.eval["precision"][..., -1]
    thresholds = [f"{value:.2f}" for value in evaluation.params.iouThrs]
    fifty, seventy_five = thresholds.index("0.50"), thresholds.index("0.75")
    names = [category["name"] for category in coco.loadCats(evaluation.params.catIds)]
    all_sizes = precision[..., 0]
    return {
        "mAP": _mean(all_sizes),
        "AP50": _mean(all_sizes[fifty]),
        "AP75": _mean(all_sizes[seventy_five]),
        "iou": {threshold: _mean(all_sizes[index]) for index, threshold in enumerate(thresholds)},
        "size": {
            size: _mean(precision[..., index]) for size, index in SIZES.items() if (precision[..., index] >= 0).any()
        },
        "class": {
            name: {
                "AP": _mean(all_sizes[:, :, index]),
                "AP50": _mean(all_sizes[fifty, :, index]),
                "AP75": _mean(all_sizes[seventy_five, :, index]),
            }
            for index, name in enumerate(names)
            if (all_sizes[:, :, index] >= 0).any()
        },
    }


def _mean(precision: numpy.ndarray) -> float:
    defined = precision[precision >= 0]
    return round(float(defined.mean()), 6) if defined.size else 0.0
