"""One short config for a data set: a base, the data, and what was measured on it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ghm_mmdet.custom_dataset.anchors import Anchors, choose_anchors
from ghm_mmdet.custom_dataset.labelled_images import LabelledFolder
from ghm_mmdet.custom_dataset.loss_choice import Loss

LINE_LENGTH = 90


@dataclass(frozen=True)
class Size:
    """A detector and how long it is trained.

    base: the config to inherit, below configs/.
    lr: for `batch` images in a step, or None for that of the loss.
    iterations: that a training should have, within the limits on its epochs.
    """

    title: str
    base: str
    longest: int
    shortest: int
    strides: tuple[int, ...]
    base_scale: float
    batch: int
    lr: float | None
    iterations: int
    epochs: tuple[int, int]
    warmup: int

    def epochs_for(self, images: int) -> int:
        fewest, most = self.epochs
        return min(max(math.ceil(self.iterations * self.batch / images), fewest), most)

    def resized(self, size: tuple[int, int]) -> float:
        """The factor by which an image of this (width, height) is scaled."""
        return min(self.longest / max(size), self.shortest / min(size))


SIZES = {
    "cpu": Size(
        "RetinaNet on EfficientNet-Lite0, images of at most 320 pixels",
        "_base_/retinanet_lite0_custom.py",
        longest=320,
        shortest=320,
        strides=(8, 16, 32),
        base_scale=3.0,
        batch=4,
        lr=None,
        iterations=900,
        epochs=(6, 60),
        warmup=50,
    ),
    "gpu": Size(
        "RetinaNet R-50-FPN, images of 800 pixels",
        "_base_/retinanet_r50_custom.py",
        longest=1333,
        shortest=800,
        strides=(8, 16, 32, 64, 128),
        base_scale=4.0,
        batch=4,
        lr=0.01 * 4 / 16,  # MMDetection's 0.01 is for 16 images
        iterations=4000,
        epochs=(12, 60),
        warmup=500,
    ),
}


def anchors_for(folder: LabelledFolder, size: Size) -> Anchors:
    """Anchors for the boxes of the training images, at the size that the detector sees them."""
    boxes = [
        np.array(labelled.bbox[2:]) * size.resized(image.size)
        for image in folder.images
        if image.split == "train"
        for labelled in image.objects
        if not labelled.ignored
    ]
    return choose_anchors(np.array(boxes), size.strides, size.base_scale)


def config_text(
    *,
    title: str,
    command: str,
    base: Path,
    data_root: Path,
    annotations: Path,
    work_dir: Path,
    classes: tuple[str, ...],
    train_images: int,
    epochs: int,
    size: Size,
    anchors: Anchors,
    loss: Loss,
    lr: float,
    weights: str | None,
) -> str:
    """The config as Python text."""
    head = {
        "num_classes": len(classes),
        "anchor_generator": {"octave_base_scale": anchors.octave_base_scale, "ratios": list(anchors.ratios)},
        **({"density_scope": loss.density_scope} if loss.density_scope else {}),
        "loss_cls": loss.loss_cls,
        "loss_bbox": loss.loss_bbox,
    }
    warmup = min(size.warmup, epochs * math.ceil(train_images / size.batch) // 10)
    schedule = [
        {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": max(warmup, 1)},
        {
            "type": "CosineAnnealingLR",
            "begin": 0,
            "end": epochs,
            "T_max": epochs,
            "eta_min_ratio": 0.01,
            "by_epoch": True,
            "convert_to_iter_based": True,
        },
    ]
    entries: dict[str, Any] = {
        "model": {"bbox_head": head},
        "train_cfg": {"max_epochs": epochs, "val_interval": max(epochs // 3, 1)},
        "param_scheduler": schedule,
        "optim_wrapper": {"optimizer": {"lr": lr}},
        "auto_scale_lr": {"base_batch_size": size.batch},
        **({"load_from": weights} if weights else {}),
        "work_dir": str(work_dir),
    }
    written = "\n".join(f"{name} = {as_python(value)}" for name, value in entries.items())
    return f'''"""{title}

{command}
"""

_base_ = {as_python(str(base))}

data_root = {as_python(f"{data_root}/")}
annotations = {as_python(f"{annotations}/")}
metainfo = dict(classes={as_python(list(classes))})
data = dict(data_root=data_root, metainfo=metainfo)
train_dataloader = dict(batch_size={size.batch}, dataset=dict(ann_file=annotations + "train.json", **data))
val_dataloader = dict(dataset=dict(ann_file=annotations + "val.json", **data))
test_dataloader = dict(dataset=dict(ann_file=annotations + "test.json", **data))
val_evaluator = dict(ann_file=annotations + "val.json")
test_evaluator = dict(ann_file=annotations + "test.json")

{written}
'''


def as_python(value: Any, indent: int = 0) -> str:
    """A value as Python text, dicts as calls of ``dict``, over several lines where one is too long."""
    if isinstance(value, dict):
        parts = [f"{key}={as_python(inner, indent + 4)}" for key, inner in value.items()]
        opening, closing = "dict(", ")"
    elif isinstance(value, list):
        parts = [as_python(inner, indent + 4) for inner in value]
        opening, closing = "[", "]"
    else:
        # JSON's quotes, which Python reads as well, where no letter needs an escape.
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else ""
        return text if text == f'"{value}"' else repr(value)
    line = opening + ", ".join(parts) + closing
    if "\n" not in line and len(line) + indent <= LINE_LENGTH:
        return line
    space = " " * (indent + 4)
    return f"{opening}\n" + "".join(f"{space}{part},\n" for part in parts) + " " * indent + closing
