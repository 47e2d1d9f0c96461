"""A misspelt key of train_cfg or test_cfg would be passed over, and its value with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from small_detectors import faster_rcnn, retinanet

from ghm_mmdet.data_check.model_keys import check_model_keys
from ghm_mmdet.errors import UserError


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, tuple[Config, Any]]:
    folder: Path = tmp_path_factory.mktemp("keys")
    configs = {"retinanet": retinanet(folder, folder / "data"), "faster_rcnn": faster_rcnn(folder, folder / "data")}
    return {name: (cfg, MODELS.build(cfg.model.copy())) for name, cfg in configs.items()}


@pytest.mark.parametrize(
    ("name", "place", "key", "wrong"),
    [
        ("retinanet", "test_cfg", "nms_pre", "nms_per"),
        ("retinanet", "test_cfg", "score_thr", "score_thresh"),
        ("retinanet", "test_cfg", "max_per_img", "max_per_image"),
        ("retinanet", "train_cfg", "allowed_border", "alowed_border"),
        ("faster_rcnn", "train_cfg.rpn_proposal", "max_per_img", "max_per_imgs"),
        ("faster_rcnn", "test_cfg.rcnn", "score_thr", "score_th"),
        ("faster_rcnn", "train_cfg.rcnn", "pos_weight", "pos_wieght"),
        ("retinanet", "test_cfg.nms", "iou_threshold", "iou_thr"),
        ("faster_rcnn", "test_cfg.rpn.nms", "iou_threshold", "iou_treshold"),
    ],
)
def test_a_misspelt_key_is_named(name, place, key, wrong, built):
    cfg, model = built[name]
    changed = cfg.model.copy().to_dict()
    entry = changed
    for step in place.split("."):
        entry = entry[step]
    entry[wrong] = entry.pop(key)
    with pytest.raises(UserError, match=rf"{wrong}(.|\n)*Did you mean '{key}'"):
        check_model_keys(changed, model)


@pytest.mark.parametrize("name", ["retinanet", "faster_rcnn"])
def test_what_is_read_and_what_resembles_nothing_passes(name, built):
    cfg, model = built[name]
    check_model_keys(cfg.model, model)
    check_model_keys({**cfg.model, "test_cfg": {**cfg.model.test_cfg, "colour": 4}}, model)


def test_an_unknown_nms(built):
    cfg, model = built["retinanet"]
    with pytest.raises(UserError, match=r"'nmss' at model\.test_cfg\.nms\.type"):
        check_model_keys({**cfg.model, "test_cfg": dict(nms=dict(type="nmss"))}, model)
