"""A detector that is nothing but a region proposal network, which knows objects only, whatever classes the data has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tools.running import CONFIG, REPO, call_tool

RPN = """
_base_ = "mmdet::rpn/rpn_r50_fpn_1x_coco.py"
model = dict(
    backbone=dict(depth=18, init_cfg=None, base_channels=8, frozen_stages=-1, norm_eval=False),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16, anchor_generator=dict(scales=[4])))
"""
RECALL = re.compile(r"Average Recall +\(AR\) @\[ IoU=0\.50:0\.95 \| area= +all \| maxDets=100 \] = (\d\.\d{3})")


def run(tool: str, *arguments: object) -> None:
    call_tool(tool, [str(argument) for argument in arguments])


@pytest.fixture
def config(shapes, tmp_path: Path) -> Path:
    _, _, rest = CONFIG.format(data=shapes.data).partition("pipeline = [")
    data = f'data_root = "{shapes.data}/"\nmetainfo = dict(classes=("disc", "square", "bar"))\n'
    path = tmp_path / "rpn_shapes.py"
    path.write_text(RPN + data + "pipeline = [" + rest)
    return path


def test_mmdets_rpn_trains_and_tests(config: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    options = ["train_cfg.val_interval=1", "val_evaluator.metric=proposal", "test_evaluator.metric=proposal"]
    folder = tmp_path / "run"
    run("train", config, "--work-dir", folder, "--cfg-options", *options, "experiment_name=rpn_train")
    trained = capfd.readouterr()
    run("test", config, folder / "epoch_2.pth", "--work-dir", folder, "--cfg-options", *options[1:])
    # After both epochs, and by the test, which sees what the second epoch saw.
    recalls = [float(recall) for recall in RECALL.findall(trained.out + capfd.readouterr().out)]
    assert len(recalls) == 3 and recalls[1] == recalls[2] > 0
    losses = [float(value) for value in re.findall(r" loss: ([\d.]+)", trained.out + trained.err)]
    assert len(losses) == 8 and all(torch.tensor(losses).isfinite())


def test_a_metric_that_numpy_breaks_is_refused(fails, config: Path, shapes) -> None:
    """mmdet's RPN configs ask for it."""
    options = ["--cfg-options", "val_evaluator.metric=proposal_fast"]
    fails("train", [config, *options], "mmdet's proposal_fast fails with numpy", "val_evaluator.metric=proposal")


def test_proposals_of_a_faster_rcnn_are_measured(
    few_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """configs/digits/rpn_digits.py takes the weights of any Faster R-CNN of that folder."""
    monkeypatch.setenv("DIGITS_ROOT", str(few_digits))
    init_default_scope("mmdet")
    config = REPO / "configs" / "digits" / "rpn_digits.py"
    for name in ("faster-rcnn_digits", "faster-rcnn_clean-rpn_digits"):
        detector = MODELS.build(Config.fromfile(config.with_name(f"{name}.py")).model)
        detector.init_weights()
        checkpoint = tmp_path / f"{name}.pth"
        torch.save({"state_dict": detector.state_dict()}, checkpoint)
        run("test", config, checkpoint, "--work-dir", tmp_path, "--cfg-options", f"experiment_name={name}")
        (recall,) = RECALL.findall(capfd.readouterr().out)
        assert 0 <= float(recall) <= 1


def test_other_heads_must_have_the_classes_of_the_data(fails, few_digits: Path, monkeypatch) -> None:
    monkeypatch.setenv("DIGITS_ROOT", str(few_digits))
    config = REPO / "configs" / "digits" / "faster-rcnn_digits.py"
    fails(
        "train",
        [config, "--cfg-options", "model.roi_head.bbox_head.num_classes=11"],
        "model.roi_head.bbox_head.num_classes is 11, but train_dataloader.dataset has 10 classes",
    )
