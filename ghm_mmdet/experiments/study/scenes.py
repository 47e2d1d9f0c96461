"""Digits that a study trains and tests on: made when they are not there yet, and how rare positives are in them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config

from ghm_mmdet.digits.folder import DigitsFolder, FolderError
from ghm_mmdet.digits.scenes import CLASSES, SPLITS, OptionError, SceneOptions
from ghm_mmdet.errors import UserError
from ghm_mmdet.prior import find_dense_heads, measure_priors

MEASURED_IMAGES = 200


@dataclass(frozen=True)
class MadeScenes:
    """A folder of digits and the imbalance that a detector's dense head sees in its training images.

    ``imbalance``: N_s C / N_p, logits to one positive, of :class:`ghm_mmdet.prior.Prior`.
    """

    path: Path
    imbalance: float


def use_scenes(config: Config, scenes: dict) -> None:
    """Fits a config for the digits, such as configs/digits/retinanet_ce_lite0_digits.py, to other scenes of them.

    Args:
        config: is changed: its classes and the size of its images become those of the scenes, which it keeps as an
            entry ``scenes``, and its evaluator reads the annotations of its val data.
        scenes: by name, the fields of :class:`ghm_mmdet.digits.scenes.SceneOptions`, and ``num_train``, ``num_val``
            and ``num_test``, the number of images.

    Raises:
        UserError: the config is not one of digits.
    """
    loaders = (config.train_dataloader, config.val_dataloader)
    if not config.get("data_root") or any(loader.dataset.type != "CocoDataset" for loader in loaders):
        raise UserError(
            "scenes fit configs that read digits, as configs/_base_/datasets/digits_detection.py has them; "
            f"got {config.filename}"
        )
    config.scenes = scenes
    config.model.get("roi_head", config.model).bbox_head.num_classes = scenes["num_classes"]
    config.val_evaluator.ann_file = config.data_root + config.val_dataloader.dataset.ann_file
    for loader in loaders:
        loader.dataset.metainfo = dict(classes=CLASSES[: scenes["num_classes"]])
        for step in loader.dataset.pipeline:
            if step["type"] == "Resize":
                step["scale"] = tuple(scenes["image_size"])


def make_scenes(config: Config, root: Path) -> MadeScenes:
    """Makes the scenes of a run's config in a folder below ``root``, named by their content, and measures them.

    Raises:
        UserError: the scenes cannot be made as the study's config asks, or the folder holds something else.
    """
    wanted: dict[str, Any] = config.scenes.to_dict()
    name = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
    counts = {split: wanted.pop(f"num_{split}", 0) for split in SPLITS}
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in wanted.items()}
    try:
        folder = DigitsFolder(root / name, "coco", counts, SceneOptions(**values))
        if not folder.is_made():
            folder.make(os.cpu_count() or 1, lambda split: None)
    except (TypeError, OptionError, FolderError) as error:
        raise UserError(f"the scenes {wanted} cannot be made: {error}") from error
    return MadeScenes(folder.path, _imbalance(moved(config, folder.path)))


def moved(config: Config, folder: Path) -> Config:
    """A config whose data lies in another folder than its ``data_root``."""
    old, new = config.data_root, f"{folder.absolute()}/"

    def move(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: move(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(move, value))
        return new + value.removeprefix(old) if isinstance(value, str) and value.startswith(old) else value

    return Config(move(config.to_dict()))


def _imbalance(config: Config) -> float:
    model = MODELS.build(config.model)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    (prior,) = measure_priors(model, find_dense_heads(model, None)[:1], dataset, max_images=MEASURED_IMAGES)
    return round(1 / prior.probability, 1)
