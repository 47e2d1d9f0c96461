"""Every config, and every variant by options, builds, trains and predicts; the images are small and random.

Backbones of ImageNet's size are built and then made thin, so that all of it takes a minute. Heads, losses, assigners
and samplers are those of the config.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, PARAM_SCHEDULERS
from mmengine.runner import Runner
from tools.running import run_tool

from ghm_mmdet.cli.amp import set_amp_optim_wrapper
from ghm_mmdet.config import load_config

REPO = Path(__file__).resolve().parents[1]
CONFIGS = REPO / "configs"
spec = importlib.util.spec_from_file_location("write_config_tables", REPO / "docs" / "write_config_tables.py")
assert spec and spec.loader
write_config_tables = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = write_config_tables
spec.loader.exec_module(write_config_tables)
ENTRIES = write_config_tables.read_entries()[1]
NAMES = sorted(ENTRIES)
CASES = [pytest.param(entry, id=entry.name) for entries in ENTRIES.values() for entry in entries]
# Where configs are named.
PAGES = [*REPO.glob("*.md"), *REPO.glob("docs/*.md"), *REPO.glob("docs/studies/*.md"), CONFIGS / "README.md"]
PAGES += [*CONFIGS.glob("**/*.py")]
PAGES += [*REPO.glob("configs/*/metafile.yml"), *REPO.glob("tools/**/*.py"), *REPO.glob("ghm_mmdet/**/*.py")]
# Stands for any config, or is to be written by the reader.
EXAMPLES = {"configs/NAME.py", "configs/METHOD/NAME.py", "configs/studies/NAME.py"}
EXAMPLES |= {"configs/poly1/retinanet_r50_fpn_poly1-1x_coco.py"}


@pytest.fixture(autouse=True, scope="module")
def registered():
    register_all_modules()


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small networks are no work for two threads, which wait for each other where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@functools.cache
def parsed(path: str, options: str) -> Config:
    return load_config(str(CONFIGS / path), options.split(), work_dir=None, launcher="none")


def load(entry) -> Config:
    return copy.deepcopy(parsed(entry.path, entry.options))


def make_thin(config: Config) -> None:
    """A ResNet-18 of 8 channels, and 64 channels behind it, where the network is one of ImageNet's size."""
    model = config.model
    if model.backbone.get("depth", 0) < 50:
        return
    for name in ("groups", "base_width"):
        model.backbone.pop(name, None)
    model.backbone.update(type="ResNet", depth=18, base_channels=8)
    model.neck.in_channels = [width // 32 for width in model.neck.in_channels]
    if "num_queries" in model:
        model.num_queries = 30
        return
    model.neck.out_channels = 64
    parts = [model.get("bbox_head"), model.get("rpn_head"), *model.get("roi_head", {}).values()]
    names = ("in_channels", "feat_channels", "out_channels", "fc_out_channels", "conv_out_channels")
    for part in parts:
        if isinstance(part, dict):
            part.update({name: 64 for name in names if name in part})


def class_counts(config: Config) -> list[int]:
    """Of the heads; an RPN tells objects from background, whatever their label."""
    model = config.model
    heads = [model.get("bbox_head"), model.get("rpn_head"), model.get("roi_head", {}).get("bbox_head")]
    return [head.get("num_classes", 2) for head in heads if head]


@pytest.mark.parametrize("entry", CASES)
def test_config_trains_and_predicts(entry):
    config = load(entry)
    # No pretrained weights: they would have to be downloaded.
    config.model.backbone.init_cfg = None
    config.model.data_preprocessor.pop("batch_augments", None)
    with torch.device("meta"):
        assert sum(p.numel() for p in MODELS.build(config.model.backbone).parameters()) > 0
    make_thin(config)
    set_amp_optim_wrapper(config, amp=False)
    if "roi_head" in config.model:
        # As many regions as a small image has room for.
        config.model.train_cfg.rcnn.sampler.num = 32
        config.model.test_cfg.rpn.max_per_img = 32
    model = revert_sync_batchnorm(Runner.build_model(None, config.model))
    model.init_weights()
    # TOOD has another loss in its first epochs.
    MessageHub.get_current_instance().update_info("epoch", 10)
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    classes, with_mask = class_counts(config)[-1], "mask_head" in config.model.get("roi_head", {})
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad and "backbone" not in n}
    before = {n: p.detach().clone() for n, p in trained.items()}

    # torch's bfloat16 convolution on a CPU cannot do with a coarsest level of one pixel.
    size = (3, 128, 192) if config.optim_wrapper.type == "CPUAmpOptimWrapper" else (3, 64, 96)
    model.train()
    # One image without any object, then nothing but such an image.
    for boxes in ([3, 0], [0]):
        batch = demo_mm_inputs(len(boxes), size, num_items=boxes, num_classes=classes, with_mask=with_mask)
        logged = model.train_step(batch, optimizer)
        losses = {key: value for key, value in logged.items() if "loss" in key}
        expected = {"loss_rpn_cls", "loss_rpn_bbox"} if "rpn_head" in config.model else set()
        if config.model.type != "RPN":
            expected |= {"loss_cls", "loss_bbox"}
        assert expected <= set(losses)
        assert all(torch.isfinite(value) for value in losses.values()), losses
        # Above a threshold nothing is left of background that is right already.
        assert losses["loss"] > 0 or (boxes == [0] and "ThresholdCrossEntropyLoss" in str(config.model))
    changed = {n for n, p in trained.items() if not torch.equal(p, before[n])}
    # Of layers for each level or stage, some may have no object.
    kinds = {name: re.sub(r"\.\d+\b", "", name.rpartition(".")[0]) for name in trained}
    expected = {kinds[name] for name in trained if re.search(r"head\..*(cls|reg)", name)}
    assert expected <= {kinds[name] for name in changed}, "did not learn"
    assert all(torch.isfinite(p).all() for p in model.parameters())

    model.eval()
    (result,) = model.test_step(demo_mm_inputs(1, size, num_items=[1], num_classes=classes))
    predicted = result.pred_instances
    assert predicted.bboxes.shape == (len(predicted), 4) and torch.isfinite(predicted.bboxes).all()
    assert ((predicted.scores >= 0) & (predicted.scores <= 1)).all()
    assert ((predicted.labels >= 0) & (predicted.labels < classes)).all()


@pytest.mark.parametrize("entry", CASES)
def test_hooks_and_schedule_build(entry):
    config = load(entry)
    for hook in config.get("custom_hooks", []):
        # The runner takes the priority.
        assert HOOKS.build({key: value for key, value in hook.items() if key != "priority"}).priority
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    assert config.param_scheduler
    for scheduler in config.param_scheduler:
        built = PARAM_SCHEDULERS.build(dict(scheduler), default_args=dict(optimizer=optimizer, epoch_length=10))
        assert built.optimizer is optimizer
    evaluators = config.val_evaluator if isinstance(config.val_evaluator, list) else [config.val_evaluator]
    assert {evaluator.type for evaluator in evaluators} in ({"CocoMetric"}, {"CocoMetric", "VOCMetric"})


@pytest.mark.parametrize("entry", [case for case in CASES if case.values[0].options])
def test_options_change_what_they_name(entry):
    """None is misspelt: each names an entry that the config, or the loss or head that it chooses, has a use for."""
    plain = parsed(entry.path, "")
    assert load(entry).to_dict() != plain.to_dict()
    for option in entry.options.split():
        *parents, _ = option.partition("=")[0].split(".")
        place = plain.to_dict()
        for name in parents:
            place = place[int(name) if name.isdigit() else name]
        assert isinstance(place, dict)


@pytest.mark.parametrize("name", NAMES)
def test_opening_says_how_to_launch_it(name):
    opening = write_config_tables.opening(name)
    launch = re.search(r"^(?:.* && )?(?:python tools/train.py|bash tools/dist_train.sh) configs/(\S+)", opening, re.M)
    assert launch and launch[1] == name, opening
    assert "ublished" in opening, "no published figure, and not said so"
    assert re.search(r"GPU|CPU", opening) and re.search(r"images|batch", opening), "hardware and batch are not said"


def test_tables_metafiles_and_openings_are_those_of_the_program():
    for path, text in write_config_tables.written_files().items():
        assert path.is_file() and path.read_text() == text, "run python docs/write_config_tables.py"


def test_readme_lists_every_config():
    text = (CONFIGS / "README.md").read_text()
    listed = re.findall(r"^\| \[[^\]]+\]\(([^)]+\.py)\)", text, re.M)
    assert sorted(listed) == NAMES


def test_every_config_that_is_named_exists():
    named = {}
    for page in PAGES:
        for path in re.findall(r"(?:(?<![\w/])|(?<=\.\./))configs/[\w./-]+\.(?:py|rst)\b", page.read_text()):
            named.setdefault(path.replace(".rst", ".py"), page.relative_to(REPO))
    missing = {path: str(page) for path, page in named.items() if path not in EXAMPLES and not (REPO / path).is_file()}
    assert len(named) > 40 and not missing


def test_configs_are_no_more_than_a_person_can_overlook():
    assert len(list(CONFIGS.rglob("*.py"))) <= 80


def test_voc_folders_come_from_the_environment(bccd_root, monkeypatch):
    """One folder alone, or both; the second is BCCD once more."""
    for name, value in dict(VOC_ROOT=str(bccd_root), VOC_2007=".", VOC_CLASSES="RBC,WBC,Platelets").items():
        monkeypatch.setenv(name, value)
    sizes = {}
    for folder in ("none", "."):
        monkeypatch.setenv("VOC_2012", folder)
        config = Config.fromfile(CONFIGS / "pascal_voc" / "retinanet_r50_fpn_ghm-1x_voc0712.py")
        assert config.model.bbox_head.num_classes == 3
        sizes[folder] = len(DATASETS.build(config.train_dataloader.dataset))
    images = len((bccd_root / "ImageSets" / "Main" / "trainval.txt").read_text().split())
    assert sizes == {"none": 3 * images, ".": 6 * images}


@pytest.mark.slow
def test_voc_config_reads_real_voc_data(bccd_root, tmp_path):
    """BCCD, named by the environment, through tools/train.py to both metrics; the network is made small."""
    name = "pascal_voc/retinanet_r50_fpn_ghm-1x_voc0712.py"
    options = {
        "model.backbone.init_cfg": "None",
        "model.backbone.depth": 18,
        "model.neck.in_channels": "[64,128,256,512]",
        "model.test_cfg.score_thr": 0.0,
        "train_dataloader.dataset.times": 1,
        "train_dataloader.dataset.dataset.datasets.0.pipeline.2.scale": "(160,120)",
        "train_dataloader.dataset.dataset.datasets.0.indices": 4,
        "train_dataloader.dataset.dataset.datasets.1.pipeline.2.scale": "(160,120)",
        "train_dataloader.dataset.dataset.datasets.1.indices": 4,
        "val_dataloader.dataset.pipeline.1.scale": "(160,120)",
        "val_dataloader.dataset.indices": 3,
        "train_cfg.max_epochs": 1,
    }
    for loader in ("train_dataloader", "val_dataloader"):
        options.update({f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False})
    root = dict(VOC_ROOT=str(bccd_root), VOC_2007=".", VOC_2012=".", VOC_CLASSES="RBC,WBC,Platelets")
    words = [f"{key}={value}" for key, value in options.items()]
    done = run_tool("train.py", f"configs/{name}", "--work-dir", tmp_path, "--cfg-options", *words, cwd=REPO, **root)
    assert done.returncode == 0, done.stderr
    (scalars,) = tmp_path.glob("*/vis_data/scalars.json")
    figures = {key: value for line in scalars.read_text().splitlines() for key, value in json.loads(line).items()}
    assert 0 <= figures["pascal_voc/mAP"] <= 1 and 0 <= figures["coco/bbox_mAP"] <= 1
    rows = re.findall(r"^\| (RBC|WBC|Platelets) +\| (\d+) +\| (\d+)", done.stdout, re.M)
    assert [name for name, _, _ in rows] == ["RBC", "WBC", "Platelets"]
    assert int(rows[0][1]) > 0 and any(int(detections) > 0 for _, _, detections in rows)
