"""tools/analysis/estimate_prior.py, and the hook through tools/train.py."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from mmdet.registry import MODELS
from small_detectors import faster_rcnn, retinanet
from tools.running import run_tool, start_tool, write_shapes

from ghm_mmdet.functional import optimal_bias

TOOL = "analysis/estimate_prior"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("estimate") / "data"
    write_shapes(root)
    return root


@pytest.mark.parametrize(("detector", "head"), [(retinanet, "bbox_head"), (faster_rcnn, "rpn_head")])
def test_prints_the_numbers_and_what_to_write(tmp_path, data, detector, head):
    cfg = detector(tmp_path, data)
    # Once as from a shell.
    run = start_tool if detector is retinanet else run_tool
    done = run(f"{TOOL}.py", cfg.filename, "--max-images", 6, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    numbers = re.search(r"Np = ([\d,]+) positives of Ns = ([\d,]+) samples in 6 of 8 images, C = (\d)", done.stdout)
    num_pos, num_samples, classes = (int(number.replace(",", "")) for number in numbers.groups())
    probability = float(re.search(r"^bias_prob=(\S+)$", done.stdout, re.MULTILINE)[1])
    assert probability == pytest.approx(num_pos / (num_samples * classes), rel=1e-3)
    assert f"bias = {optimal_bias(num_pos, num_samples, classes):.4f}" in done.stdout
    assert "measuring" in done.stderr and "100%" in done.stderr
    init_cfg = ast.literal_eval(re.search(rf"^model\.{head}\.init_cfg=(.*)$", done.stdout, re.MULTILINE)[1])
    cfg.model[head].init_cfg = init_cfg
    assert MODELS.build(cfg.model)
    assert init_cfg["override"]["bias_prob"] == probability
    # It takes no part in training: no work_dir, no log.
    assert sorted(path.name for path in tmp_path.iterdir()) == [Path(cfg.filename).name]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--max-images", 0], ["--max-images: got '0'"]),
        (["--module", "bbox_head.gone"], ["has no layer 'gone'"]),
        (["--cfg-options", "model.bbox_head.loss_cls.use_sigmoid=False"], ["bbox_head (RetinaHead)", "softmax"]),
        (["--cfg-options", "train_dataloader.dataset.ann_file=gone.json"], ["annotation file not found", "gone.json"]),
        (["--cfg-options", "model.bbox_head.num_classes=4"], ["num_classes is 4", "3 classes"]),
        (["--cfg-options", "model.bbox_head.colour=4"], ["model", "colour"]),
        (["--cfg-options", "train_dataloader=None"], ["the config defines no train_dataloader"]),
        (["--cfg-options", "nonsense"], ["'nonsense' is not of the form key=value"]),
    ],
)
def test_bad_input_is_plain(tmp_path_factory, data, fails, arguments, expected):
    cfg = retinanet(tmp_path_factory.mktemp("config"), data)
    fails(TOOL, [cfg.filename, *arguments], *expected)


def test_a_missing_config_is_plain(fails):
    fails(TOOL, ["gone.py"], "config not found", "gone.py")


def test_a_config_trains_with_the_hook(tmp_path, data):
    cfg = retinanet(tmp_path, data)
    config = Path(cfg.filename)
    config.write_text(config.read_text() + "custom_hooks = [dict(type='ghm_mmdet.OptimalBiasInitHook')]\n")
    done = run_tool("train.py", config, "--work-dir", tmp_path / "run", "--cfg-options", "train_cfg.max_epochs=1")
    assert done.returncode == 0, done.stderr
    assert "OptimalBiasInitHook: bbox_head.retina_cls: Np = " in done.stdout + done.stderr
