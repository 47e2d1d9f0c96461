"""What a model refuses in a training step or a prediction is known before the run, and named by its part."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData
from small_detectors import faster_rcnn, retinanet

from ghm_mmdet.data_check import model_trial
from ghm_mmdet.data_check.model_keys import check_model_keys
from ghm_mmdet.data_check.model_trial import made_up_sample, try_model
from ghm_mmdet.errors import UserError


def training_sample(side: int = 64, masks: bool = False) -> dict:
    sample = made_up_sample()
    sample["inputs"] = sample["inputs"][:, :side, :side]
    box = HorizontalBoxes(torch.tensor([[4.0, 4, 30, 30]]))
    objects = InstanceData(bboxes=box, labels=torch.zeros(1, dtype=torch.long))
    if masks:
        objects.masks = BitmapMasks(torch.ones(1, side, side).numpy(), side, side)
    sample["data_samples"].set_metainfo({"img_shape": (side, side), "ori_shape": (side, side), "img_path": "a.png"})
    sample["data_samples"].gt_instances = objects
    sample["data_samples"].ignored_instances = objects[:0]
    return sample


SAMPLES = {"train": training_sample(), "val": training_sample()}
HEAD = "bbox_head"


@pytest.fixture(scope="module")
def configs(tmp_path_factory) -> dict[str, Config]:
    folder: Path = tmp_path_factory.mktemp("trial")
    return {"retinanet": retinanet(folder, folder / "data"), "faster_rcnn": faster_rcnn(folder, folder / "data")}


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("retinanet", {"data_preprocessor.pad_size_divisor": 0}, r"model\.data_preprocessor: .*ZeroDivisionError"),
    ("retinanet", {f"{HEAD}.anchor_generator.strides": [8, 16]}, r"model\.bbox_head: a training step"),
    ("retinanet", {f"{HEAD}.anchor_generator.strides": [8, 16, 32, 64, 128]}, r"model\.bbox_head: .*num_levels"),
    ("retinanet", {"data_preprocessor.std": [0, 0, 0]}, r"model: a training step fails: .*loss_cls is nan"),
    ("retinanet", {f"{HEAD}.anchor_generator.octave_base_scale": 0}, r"loss_\w+ is (nan|inf) before any training"),
    ("retinanet", {"train_cfg": None}, r"model\.bbox_head: a training step fails: .*NoneType"),
    ("retinanet", {"test_cfg": None}, r"model\.bbox_head: a prediction fails: .*NoneType"),
    ("retinanet", {"neck.in_channels": [8, 16, 32, 63]}, r"model\.neck.*RuntimeError"),
    ("retinanet", {"neck.out_channels": 24}, r"model\.bbox_head.*RuntimeError"),
    ("retinanet", {f"{HEAD}.bbox_coder.target_stds": [1.0, 1.0]}, r"model\.bbox_head"),
    ("retinanet", {"train_cfg.assigner.pos_iou_thr": "0.5"}, r"model\.bbox_head: a training step fails: TypeError"),
    ("retinanet", {"train_cfg.allowed_border": "no"}, r"model\.bbox_head: a training step fails: TypeError"),
    ("retinanet", {"test_cfg.min_bbox_size": "big"}, r"model\.test_cfg\.min_bbox_size is 'big'"),
    ("retinanet", {"test_cfg.score_thr": float("nan")}, r"model\.test_cfg\.score_thr is nan, expected a number"),
    ("retinanet", {"test_cfg.score_thr": "0.05"}, r"model\.test_cfg\.score_thr is '0.05'"),
    ("retinanet", {"test_cfg.score_thr": 1.5}, r"model\.test_cfg\.score_thr is 1.5"),
    ("retinanet", {"test_cfg.max_per_img": None}, r"model\.test_cfg\.max_per_img is None"),
    ("retinanet", {"test_cfg.max_per_img": 0}, r"model\.test_cfg\.max_per_img is 0"),
    ("retinanet", {"test_cfg.max_per_img": -5}, r"model\.test_cfg\.max_per_img is -5"),
    ("retinanet", {"test_cfg.nms_pre": 0}, r"model\.test_cfg\.nms_pre is 0"),
    ("retinanet", {"test_cfg.nms_pre": 10.5}, r"model\.test_cfg\.nms_pre is 10.5"),
    ("retinanet", {"test_cfg.nms": "nms"}, r"model\.test_cfg\.nms is 'nms', expected a dict"),
    ("retinanet", {"test_cfg.nms.type": 3}, r"unknown type 3 at model\.test_cfg\.nms\.type"),
    ("retinanet", {"test_cfg.nms.iou_threshold": "half"}, r"model\.test_cfg\.nms\.iou_threshold is 'half'"),
    ("retinanet", {"test_cfg.nms": dict(_delete_=True, type="nms")}, r"model\.test_cfg\.nms: TypeError.*iou_threshold"),
    ("retinanet", {"test_cfg.nms.max_num": "all"}, r"model\.test_cfg\.nms: "),
    ("faster_rcnn", {"test_cfg.rcnn.score_thr": float("inf")}, r"model\.test_cfg\.rcnn\.score_thr is inf"),
    ("faster_rcnn", {"test_cfg.rpn.nms.iou_threshold": 7}, r"model\.test_cfg\.rpn\.nms\.iou_threshold is 7"),
    ("faster_rcnn", {"test_cfg.rcnn": dict(_delete_=True, score_thr=0.1)}, r"model\.roi_head.*a prediction fails"),
    ("faster_rcnn", {"train_cfg.rpn_proposal.max_per_img": "many"}, r"model\.train_cfg\.rpn_proposal\.max_per_img"),
    ("faster_rcnn", {"train_cfg.rcnn.sampler.num": "all"}, r"model\.roi_head: a training step fails: TypeError"),
    ("faster_rcnn", {"roi_head.bbox_roi_extractor.featmap_strides": []}, r"model\.roi_head"),
    ("faster_rcnn", {"roi_head.bbox_head.in_channels": 24}, r"model\.roi_head\.bbox_head.*RuntimeError"),
]


def test_mistakes_are_named(configs):
    wrong = {}
    for name, options, expected in MISTAKES:
        cfg = copy.deepcopy(configs[name])
        cfg.merge_from_dict({f"model.{key}": value for key, value in copy.deepcopy(options).items()})
        model = MODELS.build(copy.deepcopy(cfg.model))
        try:
            check_model_keys(cfg.model, model)
            try_model(model, SAMPLES)
            wrong[str(options)] = "passed"
        except UserError as error:
            if not re.search(expected, str(error)) or str(error).count("\n") > 1:
                wrong[str(options)] = str(error)
    assert not wrong, "\n\n".join(f"{options}: {said}" for options, said in wrong.items())


@pytest.mark.parametrize("name", ["retinanet", "faster_rcnn"])
def test_a_good_model_stays_as_it_is(name, configs, capsys):
    model = MODELS.build(copy.deepcopy(configs[name].model))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    test_cfg, state = copy.deepcopy(model.test_cfg), torch.random.get_rng_state()
    try_model(model, SAMPLES)
    assert model.test_cfg == test_cfg and torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert capsys.readouterr() == ("", "")


class OfSize(torch.nn.Module):
    """Takes images of one size, as SSD does, or fails for want of a device."""

    def __init__(self, side: int, reason: Exception):
        super().__init__()
        self.side, self.reason, self.seen = side, reason, []
        self.data_preprocessor = torch.nn.Module()

    def init_weights(self) -> None:
        pass

    def test_step(self, batch: dict) -> None:
        self.seen.append(batch["inputs"][0].shape[-1])
        if self.seen[-1] != self.side:
            raise self.reason


def test_a_corner_that_is_too_small_is_not_the_end(monkeypatch):
    monkeypatch.setattr(model_trial, "copy_to_step", lambda model: model)
    large = {"val": {"inputs": torch.zeros(3, 300, 300), "data_samples": DetDataSample(metainfo={"img_path": "a.png"})}}
    model = OfSize(300, RuntimeError("the size"))
    try_model(model, large)
    assert model.seen == [model_trial.SIDE, 300]
    with pytest.raises(UserError, match="model: a prediction fails: RuntimeError: the size"):
        try_model(OfSize(400, RuntimeError("the size")), large)
    try_model(OfSize(400, RuntimeError("Not compiled with GPU support")), large)
    with pytest.raises(UserError, match="KeyError"):
        try_model(OfSize(400, KeyError("border")), large)
    try_model(OfSize(400, KeyError("border")), {"test": made_up_sample()})
    try_model(OfSize(400, RuntimeError("the size")), {"val": {"inputs": {"sup": torch.zeros(3, 9, 9)}}, "train": None})
