"""What a study makes of a run: its evaluator, and why it failed."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from ghm_mmdet.errors import UserError
from ghm_mmdet.experiments.study.grid import Run, load_study
from ghm_mmdet.experiments.study.one_run import _coco_metric, _reason

COCO = dict(type="CocoMetric", metric="bbox")
VOC = dict(type="VOCMetric", metric="mAP")
RUN = Run("study", "CE", 0.0, 1, None, None, Config({}))


@pytest.mark.parametrize(
    "evaluator", [COCO, [COCO], [VOC, COCO], dict(metrics=[VOC, dict(COCO, type="mmdet.CocoMetric")])]
)
def test_the_coco_metric_of_any_evaluator_writes_the_detections(evaluator):
    config = Config({"val_evaluator": evaluator})
    _coco_metric(config).outfile_prefix = "here"
    assert "here" in str(config.val_evaluator)


@pytest.mark.parametrize("evaluator", [VOC, [VOC], []])
def test_no_coco_metric_is_said(evaluator):
    with pytest.raises(UserError, match="a study measures with CocoMetric"):
        _coco_metric(Config({"val_evaluator": evaluator}))


def test_a_killed_run_is_named_by_its_signal(tmp_path):
    output = tmp_path / "output.txt"
    for text, code, expected in (
        ("", -9, "ended by SIGKILL, as the kernel does when memory runs out"),
        ("Epoch 1\n", -11, "ended by SIGSEGV\n"),
        ("error: no data\nsee there\n", 2, "no data\n"),
        ("", 1, "it wrote nothing"),
    ):
        output.write_text(text)
        with pytest.raises(UserError, match=expected):
            _reason(output, RUN, code)


def test_a_study_is_found_from_its_own_folder(tmp_path, monkeypatch):
    (tmp_path / "configs" / "studies").mkdir(parents=True)
    (tmp_path / "configs" / "base.py").write_text("model = dict(bbox_head=dict(num_classes=3))\n")
    (tmp_path / "configs" / "studies" / "trial.py").write_text('methods = dict(CE="base.py")\n')
    for folder, path in (
        ("configs/studies", "trial.py"),
        ("configs", "studies/trial.py"),
        (".", "configs/studies/trial.py"),
    ):
        monkeypatch.chdir(tmp_path / folder)
        assert [run.method for run in load_study(path, tmp_path / "results")[1]] == ["CE"]
