"""ghm_mmdet/data_check/model_check.py: what a model does with our losses that its config does not say."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from small_detectors import CE, retinanet
from tools.running import CONFIG, write_shapes
from torch import nn

from ghm_mmdet.data_check.model_check import check_config_model, check_model, replaced_losses
from ghm_mmdet.losses import GHMC, FocalStarLoss, ThresholdCrossEntropyLoss

SAMPLES, CLASSES = 10, 3
LABELS = torch.arange(SAMPLES) % (CLASSES + 1)


class Detector(BaseModel):
    """Whose head gives a loss what `step` says."""

    def __init__(self, loss: nn.Module, step: Callable, **others: nn.Module):
        super().__init__()
        self.step = step
        self.logits = nn.Parameter(torch.linspace(-2, 2, SAMPLES * CLASSES).view(SAMPLES, CLASSES))
        self.bbox_head = nn.ModuleDict({"loss_cls": loss, **others})

    def forward(self, inputs, data_samples=None, mode="loss"):
        return {"loss_cls": self.step(self.bbox_head["loss_cls"], self.logits)}


def texts(loss, step, replaced=None, **others) -> list[str]:
    findings = check_model(Detector(loss, step, **others), {"inputs": []}, replaced)
    return [f"{'wrong' if finding.wrong else 'note'}: {finding.loss} {finding.text}" for finding in findings]


def ghm_c(**options) -> GHMC:
    return GHMC(**{"bins": 1, "momentum": 0, **options})


def test_a_loss_that_is_used_as_it_is_meant_has_no_finding():
    assert texts(ghm_c(), lambda loss, logits: loss(logits, LABELS, (LABELS > 0).float())) == []


def test_models_without_our_losses_are_left_alone():
    assert texts(nn.L1Loss(), lambda loss, logits: 1 / 0) == []


@pytest.mark.parametrize(
    ("step", "how"),
    [
        (lambda loss, logits: logits.sum(), "is called never"),
        (lambda loss, logits: logits.sum() * loss(logits.detach(), LABELS), "is called only to score samples"),
        (
            lambda loss, logits: logits.sum() * loss(logits, LABELS, reduction_override="none").sum().detach(),
            "is called only",
        ),
        (lambda loss, logits: loss(logits, LABELS, reduction_override="none").sum(), "gives the loss of each element"),
    ],
)
def test_a_loss_that_is_not_trained_with_is_wrong(step, how):
    (text,) = texts(ghm_c(), step)
    assert text.startswith("wrong: bbox_head.loss_cls (GHMC) ") and how in text and "ModuleDict's own" in text


def test_a_loss_of_later_epochs_has_no_finding():
    def step(loss, logits):
        return loss(logits, LABELS) if MessageHub.get_current_instance().get_info("epoch") > 3 else logits.sum()

    assert texts(ghm_c(), step) == []


def test_probabilities_in_place_of_logits_are_wrong():
    (text,) = texts(ghm_c(), lambda loss, logits: loss(logits.sigmoid(), LABELS))
    assert text.startswith("wrong: ") and text.endswith("gives probabilities. Set activated=True.")
    assert texts(ghm_c(activated=True), lambda loss, logits: loss(logits.sigmoid(), LABELS)) == []
    (text,) = texts(FocalStarLoss(), lambda loss, logits: loss(logits.sigmoid(), LABELS))
    assert text.startswith("wrong: ") and text.endswith("Keep ModuleDict's own loss.")


def test_a_failing_step_is_wrong():
    (text,) = texts(ghm_c(), lambda loss, logits: loss(logits, LABELS[:2]))
    assert text.startswith("wrong: a training step ValueError: target must hold")


def test_scoring_beside_training_is_noted():
    def step(loss, logits):
        return loss(
            logits, LABELS, loss(logits, LABELS, reduction_override="none").detach().sum(1).round().clamp(max=1)
        )

    (text,) = texts(ghm_c(), step)
    assert text.startswith("note: ") and "scores samples" in text


def test_a_moving_average_that_does_not_move_is_noted():
    def step(loss, logits):
        return loss(logits, LABELS).sum()

    (text,) = texts(GHMC(reduction="none"), step)
    assert text.startswith("note: ") and "moving average" in text
    assert texts(GHMC(reduction="none", momentum=0), step) == texts(GHMC(), step) == []


def test_weights_whose_size_has_no_effect_are_noted():
    def step(loss, logits):
        return loss(logits, LABELS, torch.full((SAMPLES,), 0.3))

    (text,) = texts(ghm_c(), step)
    assert text.startswith("note: ") and "scale_by_weight=True" in text
    assert texts(ghm_c(scale_by_weight=True), step) == texts(FocalStarLoss(), step) == []


def test_what_is_not_replaced_is_noted():
    (text,) = texts(
        ghm_c(), lambda loss, logits: loss(logits, LABELS), auxiliary=nn.ModuleDict({"loss_cls": nn.L1Loss()})
    )
    assert text == "note: bbox_head.auxiliary.loss_cls (L1Loss) stays beside those replaced."


def test_another_scale_than_the_loss_before_is_noted():
    """One region is the mean of cross-entropy, and the loss before has the sum of it: 30 elements."""

    def step(loss, logits):
        return loss(logits, LABELS, avg_factor=1.0)

    before = {"bbox_head.loss_cls": dict(type="mmdet.FocalLoss", gamma=0.0, alpha=0.5, loss_weight=2.0)}
    (text,) = texts(ghm_c(), step, before)
    assert text.startswith("note: ") and "gradients 0.0333 times those of mmdet.FocalLoss" in text
    assert texts(ghm_c(normalize="avg_factor"), step, before) == []
    assert texts(ghm_c(loss_weight=24.0), step, before) == []


def test_a_crowd_that_has_no_say_is_no_other_scale():
    """Of five thousand elements ten are hard: the sum is 0.075 of what it was, and what is hard weighs what it did."""

    class Crowd(Detector):
        def __init__(self, threshold: float):
            loss = ThresholdCrossEntropyLoss(threshold)
            super().__init__(loss, lambda loss, logits: loss(logits, torch.ones(5000, dtype=torch.long)))
            self.logits = nn.Parameter(torch.cat([torch.full((4990, 1), -4.0), torch.full((10, 1), -1.0)]))

    before = {"bbox_head.loss_cls": dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True)}
    assert check_model(Crowd(1 / 30), {"inputs": []}, before) == []
    # Nothing at all is left of the crowd, nor of what is hard.
    (finding,) = check_model(Crowd(1.0), {"inputs": []}, before)
    assert "has gradients 0 times those of mmdet.CrossEntropyLoss" in finding.text


def test_another_loss_weight_is_a_choice():
    def step(loss, logits):
        return loss(logits, LABELS)

    before = {"bbox_head.loss_cls": dict(type="mmdet.FocalLoss", gamma=0.0, alpha=0.5, loss_weight=2.0)}
    assert texts(ghm_c(loss_weight=100.0), step, before) == []


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("model_check") / "data"
    write_shapes(root, 2)
    return root


@pytest.fixture
def ghm_retinanet(tmp_path, data) -> Callable[..., Config]:
    """The small RetinaNet with both losses of ours."""

    def make(**options) -> Config:
        cfg = retinanet(tmp_path, data, **options)
        path = tmp_path / "ghm.py"
        path.write_text(CONFIG.format(data=data))
        changed = Config.fromfile(path)
        changed.merge_from_dict(options)
        changed.default_scope = cfg.default_scope
        return changed

    return make


def test_a_config_is_checked_on_its_own_data(ghm_retinanet):
    assert not [finding for finding in check_config_model(ghm_retinanet()) if finding.wrong]


def test_images_without_objects_are_passed_over(ghm_retinanet, tmp_path, data):
    """Without an object GHM-R has no turn."""
    content = json.loads((data / "annotations.json").read_text())
    content["annotations"] = [box for box in content["annotations"] if box["image_id"] != 1]
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    options = {"train_dataloader.dataset.ann_file": str(tmp_path / "annotations.json")}
    options["train_dataloader.dataset.filter_cfg"] = dict(filter_empty_gt=False)
    assert not [finding for finding in check_config_model(ghm_retinanet(**options)) if finding.wrong]
    content["annotations"] = []
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert check_config_model(ghm_retinanet(**options)) == []


def test_boxes_in_pixels_are_refused_by_ghm_r(ghm_retinanet):
    options = {"model.bbox_head.reg_decoded_bbox": True}
    (finding,) = check_config_model(ghm_retinanet(**options))
    assert finding.wrong and "boxes in pixels" in finding.text and "reg_decoded_bbox=False" in finding.text
    options["model.bbox_head.loss_bbox.in_pixels"] = True
    assert not [finding for finding in check_config_model(ghm_retinanet(**options)) if finding.wrong]


def test_a_head_that_does_without_loss_cls_is_named(ghm_retinanet):
    losses = {"model.bbox_head.loss_bbox": dict(_delete_=True, type="SmoothL1Loss", loss_weight=0.75)}
    findings = check_config_model(ghm_retinanet(**{"model.bbox_head.type": "FreeAnchorRetinaHead", **losses}))
    assert [finding.text for finding in findings if finding.wrong] == [
        "is called never in a training step: FreeAnchorRetinaHead computes its loss without it. Keep "
        "FreeAnchorRetinaHead's own."
    ]


def test_the_losses_before_are_those_of_the_bases(tmp_path, data):
    (tmp_path / "first.py").write_text(CONFIG.format(data=data))
    (tmp_path / "second.py").write_text(f'_base_ = "first.py"\nmodel = dict(bbox_head=dict(loss_bbox={CE}))\n')
    assert {name: loss["type"] for name, loss in replaced_losses(str(tmp_path / "first.py")).items()} == {
        "bbox_head.loss_cls": "FocalLoss",
        "bbox_head.loss_bbox": "L1Loss",
    }
    assert {name: loss["type"] for name, loss in replaced_losses(str(tmp_path / "second.py")).items()} == {
        "bbox_head.loss_cls": "FocalLoss",
        "bbox_head.loss_bbox": "L1Loss",
    }
