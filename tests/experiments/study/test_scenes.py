"""Digits made for a study: the right data, the config fitted to it, and an imbalance counted once more by hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures.bbox import bbox_overlaps
from mmdet.utils import register_all_modules
from mmengine.config import Config

from ghm_mmdet.errors import UserError
from ghm_mmdet.experiments.study.scenes import make_scenes, moved, use_scenes

DIGITS = Path(__file__).resolve().parents[3] / "configs" / "digits" / "retinanet_ce_lite0_digits.py"
SCENES = dict(
    object_size=[18, 40], image_size=[96, 64], objects_per_image=[2, 2], num_classes=3, num_train=6, num_val=2
)


@pytest.fixture(autouse=True, scope="module")
def registered():
    register_all_modules()


def fitted(**changes) -> Config:
    config = Config.fromfile(DIGITS)
    config.model.backbone.pretrained = False
    use_scenes(config, Config({**SCENES, **changes})._cfg_dict)
    return config


def test_config_fits_the_scenes(tmp_path):
    config = fitted()
    made = make_scenes(config, tmp_path)
    there = moved(config, made.path)
    assert there.model.bbox_head.num_classes == 3
    assert there.val_evaluator.ann_file == f"{made.path}/annotations/instances_val.json"
    for loader, images in ((there.train_dataloader, 6), (there.val_dataloader, 2)):
        dataset = DATASETS.build(loader.dataset)
        assert len(dataset) == images and dataset.metainfo["classes"] == ("0", "1", "2")
        for data in (dataset[index] for index in range(images)):
            assert tuple(data["inputs"].shape) == (3, 64, 96)
            assert len(data["data_samples"].gt_instances) == 2
            assert data["data_samples"].gt_instances.labels.max() < 3


def test_evaluator_follows_the_data_wherever_the_config_found_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DIGITS_ROOT", str(tmp_path / "mine"))
    config = Config.fromfile(DIGITS)
    config.val_dataloader.dataset.ann_file = "annotations/instances_test.json"
    use_scenes(config, Config(SCENES)._cfg_dict)
    assert config.val_evaluator.ann_file == f"{tmp_path}/mine/annotations/instances_test.json"
    assert moved(config, tmp_path / "x").val_evaluator.ann_file == f"{tmp_path}/x/annotations/instances_test.json"


def test_made_once(tmp_path):
    made = make_scenes(fitted(), tmp_path)
    (folder,) = tmp_path.iterdir()
    assert folder == made.path and json.loads((folder / "digits.json").read_text())["num_train"] == 6
    written = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert make_scenes(fitted(), tmp_path) == made
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == written
    assert make_scenes(fitted(objects_per_image=[3, 3]), tmp_path).path != made.path


def test_imbalance_counted_by_hand(tmp_path):
    """Positive: an IoU of 0.5 with an object, or the highest that it has; from 0.4 to 0.5 anchors are ignored."""
    config = fitted()
    made = make_scenes(config, tmp_path)
    positives = samples = 0
    for boxes in boxes_of(made.path / "annotations" / "instances_train.json"):
        anchors = torch.tensor(
            [
                [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                for stride in (8, 16, 32)
                for y in range(0, 64, stride)
                for x in range(0, 96, stride)
                for scale in (1, 2**0.5)
                for w, h in [(3 * stride * scale / 1.4**0.5, 3 * stride * scale * 1.4**0.5)]
            ]
        )
        overlaps = bbox_overlaps(torch.tensor(boxes), anchors)
        best = (overlaps == overlaps.amax(1, keepdim=True)).any(0)
        positive = (overlaps.amax(0) >= 0.5) | best
        positives += int(positive.sum())
        samples += int((positive | (overlaps.amax(0) < 0.4)).sum())
    assert made.imbalance == pytest.approx(3 * samples / positives, abs=0.06)


def boxes_of(file: Path) -> list[list[list[float]]]:
    boxes: dict[int, list] = {}
    for entry in json.loads(file.read_text())["annotations"]:
        x, y, w, h = map(float, entry["bbox"])
        boxes.setdefault(entry["image_id"], []).append([x, y, x + w, y + h])
    return list(boxes.values())


def test_moving_leaves_the_config_and_other_paths_alone(tmp_path):
    config = fitted()
    before = copy.deepcopy(config.to_dict())
    there = moved(config, tmp_path / "x")
    assert config.to_dict() == before
    assert there.train_dataloader.dataset.data_root == f"{tmp_path}/x/"
    assert there.train_dataloader.dataset.ann_file == "annotations/instances_train.json"


@pytest.mark.parametrize(
    ("changes", "said"),
    [(dict(num_classes=11), "num_classes"), (dict(colour=1), "colour"), (dict(objects_per_image=[90, 90]), "is full")],
)
def test_scenes_that_cannot_be(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        make_scenes(fitted(**changes), tmp_path)
    assert not list(tmp_path.iterdir())
