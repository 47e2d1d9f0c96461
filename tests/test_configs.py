"""Every config builds, trains and predicts; the images are small and random, the networks are those of the config."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.config import utils as config_utils
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, PARAM_SCHEDULERS
from mmengine.runner import Runner

from ghm_mmdet.cli.amp import set_amp_optim_wrapper

REPO = Path(__file__).resolve().parents[1]
CONFIGS = REPO / "configs"
NO_DETECTORS = ("_base_", "studies")
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.py") if path.parent.name not in NO_DETECTORS)
SLOW = ("x101-64x4d",)
# Networks with their optimizer: those of VOC 2007 and 07+12, with and without warm-up, are the same.
TRAINED: set[str] = set()


def parameters(names: list[str]) -> list:
    return [pytest.param(name, marks=pytest.mark.slow) if any(s in name for s in SLOW) else name for name in names]


@pytest.fixture(autouse=True, scope="module")
def registered():
    register_all_modules()


@pytest.fixture(autouse=True, scope="module")
def index_read_once():
    """mmengine reads mmdet's hundred files of published models anew for every base in mmdet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_utils, "load", functools.cache(config_utils.load))
        yield


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@functools.cache
def parsed(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


def load(name: str) -> Config:
    config = copy.deepcopy(parsed(name))
    # No pretrained weights: they would have to be downloaded.
    config.model.backbone.init_cfg = None
    set_amp_optim_wrapper(config, amp=False)
    if "roi_head" in config.model:
        # As many regions as a small image has room for.
        config.model.train_cfg.rcnn.sampler.num = 32
        config.model.test_cfg.rpn.max_per_img = 32
    return config


def heads(config: Config) -> list[dict]:
    model = config.model
    return [head for head in (model.get("bbox_head"), model.get("rpn_head")) if head] + (
        [model.roi_head.bbox_head] if "roi_head" in model else []
    )


@pytest.mark.parametrize("name", parameters(NAMES))
def test_config_trains_and_predicts(name):
    config = load(name)
    network = json.dumps([config.model.to_dict(), config.optim_wrapper.to_dict()], default=str)
    model = Runner.build_model(None, config.model)
    if network in TRAINED:
        return
    model.init_weights()
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    # An RPN alone tells objects from background, whatever their label.
    classes = heads(config)[-1].get("num_classes", 2)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad and "backbone" not in n}
    before = {n: p.detach().clone() for n, p in trained.items()}

    # torch's bfloat16 convolution on a CPU cannot do with a coarsest level of one pixel.
    size = (3, 128, 192) if config.optim_wrapper.type == "CPUAmpOptimWrapper" else (3, 64, 96)
    model.train()
    # One image without any object, then nothing but such an image.
    for boxes in ([3, 0], [0]):
        batch = demo_mm_inputs(len(boxes), size, num_items=boxes, num_classes=classes)
        logged = model.train_step(batch, optimizer)
        losses = {key: value for key, value in logged.items() if "loss" in key}
        expected = {"loss_rpn_cls", "loss_rpn_bbox"} if "rpn_head" in config.model else set()
        if config.model.type != "RPN":
            expected |= {"loss_cls", "loss_bbox"}
        assert expected <= set(losses)
        assert all(torch.isfinite(value) for value in losses.values()), losses
        assert losses["loss"] > 0
    changed = {n for n, p in trained.items() if not torch.equal(p, before[n])}
    for part in {n.rpartition(".")[0] for n in trained if re.search(r"head\..*(cls|reg)", n)}:
        assert any(n.startswith(part) for n in changed), f"{part} did not learn"
    assert all(torch.isfinite(p).all() for p in model.parameters())

    model.eval()
    (result,) = model.test_step(demo_mm_inputs(1, size, num_items=[1], num_classes=classes))
    predicted = result.pred_instances
    assert predicted.bboxes.shape == (len(predicted), 4) and torch.isfinite(predicted.bboxes).all()
    assert ((predicted.scores >= 0) & (predicted.scores <= 1)).all()
    assert ((predicted.labels >= 0) & (predicted.labels < classes)).all()
    TRAINED.add(network)


@pytest.mark.parametrize("name", NAMES)
def test_opening_says_how_to_launch_it(name):
    opening = (CONFIGS / name).read_text().split('"""')[1]
    launch = re.search(r"^(?:.* && )?(?:python tools/train.py|bash tools/dist_train.sh) configs/(\S+)", opening, re.M)
    assert launch and launch[1] == name, opening
    assert "ublished" in opening, "no published figure, and not said so"
    assert re.search(r"GPU|CPU", opening) and re.search(r"images|batch", opening), "hardware and batch are not said"


def test_readme_lists_every_config():
    text = (CONFIGS / "README.md").read_text()
    listed = re.findall(r"^\| \[[^\]]+\]\(([^)]+\.py)\)", text, re.M)
    assert sorted(listed) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_hooks_and_schedule_build(name):
    config = parsed(name)
    for hook in config.get("custom_hooks", []):
        assert HOOKS.build(hook).priority
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    assert config.param_scheduler
    for scheduler in config.param_scheduler:
        built = PARAM_SCHEDULERS.build(dict(scheduler), default_args=dict(optimizer=optimizer, epoch_length=10))
        assert built.optimizer is optimizer
    evaluators = config.val_evaluator if isinstance(config.val_evaluator, list) else [config.val_evaluator]
    assert {evaluator.type for evaluator in evaluators} in ({"CocoMetric"}, {"CocoMetric", "VOCMetric"})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["voc/retinanet_ghm_r50_voc07.py", "faster_rcnn/faster-rcnn_clean-rpn_r50_voc0712.py"])
def test_voc_config_reads_real_voc_data(name, bccd_root, tmp_path):
    """BCCD, named by the environment, through tools/train.py to both metrics; the network is made small."""
    head = "roi_head" if name.startswith("faster") else "bbox_head"
    options = {
        "model.backbone.init_cfg": "None",
        "model.backbone.depth": 18,
        "model.neck.in_channels": "[64,128,256,512]",
        "model.test_cfg.score_thr" if head == "bbox_head" else "model.test_cfg.rcnn.score_thr": 0.0,
        "train_dataloader.dataset.times": 1,
        "train_dataloader.dataset.dataset.datasets.0.pipeline.2.scale": "(160,120)",
        "train_dataloader.dataset.dataset.datasets.0.indices": 4,
        "val_dataloader.dataset.pipeline.1.scale": "(160,120)",
        "val_dataloader.dataset.indices": 3,
        "train_cfg.max_epochs": 1,
    }
    if head == "roi_head":
        options["train_dataloader.dataset.dataset.datasets.1.pipeline.2.scale"] = "(160,120)"
        options["train_dataloader.dataset.dataset.datasets.1.indices"] = 4
    for loader in ("train_dataloader", "val_dataloader"):
        options.update({f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False})
    command = [sys.executable, "tools/train.py", f"configs/{name}", "--work-dir", str(tmp_path), "--cfg-options"]
    root = dict(VOC_ROOT=str(bccd_root), VOC_2007=".", VOC_2012=".", VOC_CLASSES="RBC,WBC,Platelets")
    done = subprocess.run(
        [*command, *(f"{key}={value}" for key, value in options.items())],
        cwd=REPO,
        env={**os.environ, **root, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    (scalars,) = tmp_path.glob("*/vis_data/scalars.json")
    figures = {key: value for line in scalars.read_text().splitlines() for key, value in json.loads(line).items()}
    assert 0 <= figures["pascal_voc/mAP"] <= 1 and 0 <= figures["coco/bbox_mAP"] <= 1
    rows = re.findall(r"^\| (RBC|WBC|Platelets) +\| (\d+) +\| (\d+)", done.stdout, re.M)
    assert [name for name, _, _ in rows] == ["RBC", "WBC", "Platelets"]
    assert int(rows[0][1]) > 0 and any(int(detections) > 0 for _, _, detections in rows)
