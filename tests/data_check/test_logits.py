"""A head and its classification loss must agree on the number of logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ghm_mmdet.config import build_part
from ghm_mmdet.data_check.preflight import check_logits
from ghm_mmdet.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SILENT = dict(type="ghm_mmdet.GHMC", _delete_=True)
SIGMOID, SOFTMAX = dict(SILENT, use_sigmoid=True), dict(SILENT, use_sigmoid=False)


def built(name: str, options: dict):
    init_default_scope("mmdet")
    base = {"retinanet": "retinanet_ghm_digits", "mmdet": "retinanet_ghm_digits"}.get(name, f"digits/{name}")
    cfg = Config.fromfile(CONFIGS / f"{base}.py")
    if name == "mmdet":
        cfg.model.bbox_head.type = "RetinaHead"
        del cfg.model.bbox_head["density_scope"]
    cfg.merge_from_dict(options)
    return build_part(MODELS, cfg.model, "model")


@pytest.mark.parametrize(
    ("name", "place", "loss", "logits", "answer"),
    [
        # Stock heads read use_sigmoid from the config, where it is missing.
        ("mmdet", "bbox_head", SILENT, "has 11 logits for 10 classes", True),
        ("fcos_ghmc_digits", "bbox_head", SILENT, "has 11 logits for 10 classes", True),
        ("faster-rcnn_digits", "rpn_head", SILENT, "has 2 logits for 1 class,", True),
        ("rpn_digits", "rpn_head", SILENT, "has 2 logits for 1 class,", True),
    ],
)
def test_a_head_with_other_logits_than_its_loss_is_refused(name, place, loss, logits, answer):
    key = f"model.{place}.loss_cls"
    with pytest.raises(UserError, match=logits) as error:
        check_logits(built(name, {key: dict(loss)}))
    assert f"GHMC with use_sigmoid={not answer or loss is SILENT}" in str(error.value)
    option = str(error.value).rpartition("--cfg-options ")[2]
    # What it says to write is what helps.
    assert option == f"{key}.use_sigmoid={answer}"
    check_logits(built(name, {key: dict(loss, use_sigmoid=answer)}))


def test_a_roi_head_has_the_logits_of_a_sigmoid_for_each_class():
    """The loss says how many, and the scores have an empty column for the background, which the head drops."""
    head = built("faster-rcnn_digits", {"model.roi_head.bbox_head.loss_cls": dict(SIGMOID)}).roi_head.bbox_head
    assert head.fc_cls.out_features == 10
    logits = torch.randn(3, 10)
    scores = head.loss_cls.get_activation(logits)
    assert torch.equal(scores[:, :10], logits.sigmoid()) and scores.shape == (3, 11) and not scores[:, 10].any()


def test_softmax_in_a_head_of_sigmoids_is_refused():
    """YOLOX has as many logits as classes, whatever the config says."""
    init_default_scope("mmdet")
    head = dict(type="YOLOXHead", num_classes=10, in_channels=4, feat_channels=4)
    check_logits(MODELS.build(dict(head, loss_cls=dict(type="ghm_mmdet.GHMC", use_sigmoid=True))))
    softmax = MODELS.build(dict(head, loss_cls=dict(type="ghm_mmdet.GHMC", use_sigmoid=False)))
    with pytest.raises(UserError, match=r"YOLOXHead\) has 10 logits for 10 classes.*GHMC with use_sigmoid=False"):
        check_logits(softmax)


@pytest.mark.parametrize(
    "name", ["retinanet", "fcos_ghmc_digits", "atss_ghmc_digits", "faster-rcnn_clean-rpn_digits", "rpn_digits"]
)
def test_heads_that_fit_pass(name):
    check_logits(built(name, {}))


def test_softmax_with_its_background_passes():
    places = [("mmdet", "bbox_head"), ("fcos_ghmc_digits", "bbox_head")]
    places += [("faster-rcnn_digits", "rpn_head"), ("faster-rcnn_digits", "roi_head.bbox_head")]
    for name, place in places:
        check_logits(built(name, {f"model.{place}.loss_cls": SOFTMAX}))


@pytest.mark.parametrize("name", ["mmdet", "fcos_ghmc_digits"])
def test_batch_scope_in_a_head_without_it_says_what_to_write(name):
    with pytest.raises(UserError, match=r"'density_scope'\n.*ghm_mmdet\.RetinaHead.*without anchors"):
        built(name, {"model.bbox_head.density_scope": "batch"})


@pytest.mark.parametrize(
    "head",
    [
        dict(type="SABLHead", num_classes=10, cls_in_channels=8, reg_in_channels=8, cls_out_channels=16),
        dict(type="Shared2FCBBoxHead", num_classes=10, loss_cls=dict(type="SeesawLoss", num_classes=10)),
        dict(type="DIIHead", num_classes=10, loss_cls=dict(type="FocalLoss", use_sigmoid=True)),
    ],
    ids=lambda head: head["type"],
)
def test_mmdets_other_ways_to_count_pass(head):
    init_default_scope("mmdet")
    check_logits(MODELS.build(head))
