"""The hook in real runs of mmengine's Runner."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmdet.registry import HOOKS as MMDET_HOOKS
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from small_detectors import faster_rcnn, retinanet
from tools.running import REPO, write_shapes

from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints
from ghm_mmdet.errors import UserError
from ghm_mmdet.functional import optimal_bias
from ghm_mmdet.prior import find_dense_heads, measure_priors

HOOK = dict(type="ghm_mmdet.OptimalBiasInitHook")
ALL_ANCHORS = {"model.train_cfg.rpn.sampler": dict(type="PseudoSampler", _delete_=True)}
NO_WORKERS = {"train_dataloader.num_workers": 0, "train_dataloader.persistent_workers": False}
HEAD_OF_FILE = dict(type="Pretrained", prefix="bbox_head.")
COUNT = 0


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    allow_mmengine_checkpoints()
    root = tmp_path_factory.mktemp("hook") / "data"
    write_shapes(root)
    return root


class Watch(Hook):
    """Notes the bias and the images that training starts with; after OptimalBiasInitHook, being a custom hook later."""

    def __init__(self):
        self.bias, self.batches = None, []

    def before_train(self, runner):
        self.bias = find_dense_heads(runner.model)[0].convs[0].bias.detach().clone()

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        samples = data_batch["data_samples"]
        self.batches.append([(sample.img_id, sample.get("flip")) for sample in samples])


def runner_of(cfg, *hooks, **options):
    """A runner for one epoch, with an experiment name of its own, which mmengine wants unique."""
    global COUNT
    COUNT += 1
    watch = Watch()
    cfg.merge_from_dict({"experiment_name": f"hook_{COUNT}", **options})
    if "max_epochs" in cfg.train_cfg:
        cfg.train_cfg.max_epochs = options.get("train_cfg.max_epochs", 1)
    cfg.custom_hooks = list(hooks)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(watch, priority="LOWEST")
    return runner, watch


def log_of(runner):
    return "".join(path.read_text() for path in Path(runner.work_dir).rglob("*.log"))


@pytest.mark.parametrize(
    ("detector", "options", "layer"),
    [(retinanet, {}, "bbox_head.retina_cls"), (faster_rcnn, ALL_ANCHORS, "rpn_head.rpn_cls")],
)
def test_training_starts_with_the_optimal_bias(tmp_path, data, detector, options, layer):
    cfg = detector(tmp_path, data, **options)
    runner, watch = runner_of(cfg, HOOK)
    runner.train()
    model = MODELS.build(cfg.model)
    heads = find_dense_heads(model)
    (prior,) = measure_priors(model, heads, runner.train_dataloader.dataset)
    expected = optimal_bias(prior.num_pos, prior.num_samples, 3 if detector is retinanet else 1)
    assert watch.bias.tolist() == pytest.approx([expected] * len(watch.bias))
    log = log_of(runner)
    for part in (
        f"OptimalBiasInitHook: {layer}: Np = {prior.num_pos:,} positives of Ns = {prior.num_samples:,} samples",
        "in 8 of 8 images",
        f"C = {3 if detector is retinanet else 1}",
        f"p' = {prior.probability:.3e}",
        f"bias = {expected:.4f} (was {'-4.5951' if detector is retinanet else '0.0000'})",
    ):
        assert part in log
    assert len(watch.batches) == 4


class FirstLosses(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses = {name: value.item() for name, value in outputs.items() if "loss" in name}


@pytest.mark.parametrize(
    ("config", "options", "head", "layer", "loss_cls"),
    [
        ("retinanet_ce_digits.py", {}, "bbox_head", "retina_cls", "loss_cls"),
        ("rpn_digits.py", ALL_ANCHORS, "rpn_head", "rpn_cls", "loss_rpn_cls"),
    ],
    ids=["RetinaNet", "RPN"],
)
def test_on_digits_the_first_loss_is_below_that_of_other_biases(
    tmp_path, few_digits, monkeypatch, config, options, head, layer, loss_cls
):
    """The first iteration of trainings with plain cross-entropy over all anchors, alike but for the bias."""
    monkeypatch.setenv("DIGITS_ROOT", str(few_digits))
    first = {}
    for bias_prob in ("optimal", 0.5, 0.01):
        cfg = Config.fromfile(REPO / "configs" / "digits" / config)
        init_default_scope("mmdet")
        override = dict(type="Normal", name=layer, std=0.01, bias_prob=0.01 if bias_prob == "optimal" else bias_prob)
        cfg.model[head].init_cfg = dict(type="Normal", layer="Conv2d", std=0.01, override=override)
        loop = dict(type="IterBasedTrainLoop", max_iters=1, val_interval=10, _delete_=True)
        cfg.merge_from_dict({"work_dir": str(tmp_path), "train_cfg": loop, "param_scheduler": None})
        cfg.merge_from_dict({**NO_WORKERS, **options})
        runner, watch = runner_of(cfg, *([HOOK] if bias_prob == "optimal" else []))
        losses = FirstLosses()
        runner.register_hook(losses, priority="LOWEST")
        runner.train()
        if bias_prob == 0.5:
            assert watch.bias.abs().max() < 1e-6
        first[bias_prob] = losses.losses[loss_cls], watch.batches
    # The same images, so that the losses can be compared.
    assert first["optimal"][1] == first[0.5][1] == first[0.01][1]
    assert len(first["optimal"][1][0]) == 8
    assert 0 < first["optimal"][0] < first[0.01][0] < first[0.5][0]


def test_max_images_and_module(tmp_path, data):
    hook = dict(HOOK, max_images=3, module="bbox_head.retina_cls")
    runner, watch = runner_of(retinanet(tmp_path, data), hook)
    runner.train()
    assert "OptimalBiasInitHook: bbox_head.retina_cls" in log_of(runner) and "in 3 of 8 images" in log_of(runner)
    assert watch.bias[0] < -4.6


def test_order_of_training_is_that_of_a_run_without_the_hook(tmp_path, data):
    batches = []
    for name, hooks in (("with", [HOOK]), ("without", [])):
        (tmp_path / name).mkdir()
        cfg = retinanet(tmp_path / name, data)
        cfg.train_dataloader.dataset.pipeline.insert(3, dict(type="RandomFlip", prob=0.5))
        runner, watch = runner_of(cfg, *hooks)
        runner.train()
        batches.append(watch.batches)
    assert batches[0] == batches[1]
    flips = {flip for batch in batches[0] for _, flip in batch}
    assert flips == {True, False}


def test_loaded_and_resumed_models_are_left_alone(tmp_path, data):
    cfg = retinanet(tmp_path, data)
    first, watch = runner_of(cfg, HOOK)
    first.train()
    checkpoint = tmp_path / "run" / "epoch_1.pth"
    trained = torch.load(checkpoint, weights_only=True)["state_dict"]["bbox_head.retina_cls.bias"]
    assert not torch.equal(trained, watch.bias)
    for name, options in (
        ("loaded", {"load_from": str(checkpoint)}),
        ("resumed", {"load_from": str(checkpoint), "resume": True, "train_cfg.max_epochs": 2}),
        ("pretrained", {"model.init_cfg": dict(type="Pretrained", checkpoint=str(checkpoint))}),
        ("head", {"model.bbox_head.init_cfg": dict(HEAD_OF_FILE, checkpoint=str(checkpoint))}),
    ):
        (tmp_path / name).mkdir()
        runner, watch = runner_of(retinanet(tmp_path / name, data), HOOK, **options)
        runner.train()
        assert torch.equal(watch.bias, trained), name
        assert "OptimalBiasInitHook: the weights were resumed or loaded, no bias is set." in log_of(runner), name


def test_a_resume_that_finds_nothing_starts_with_the_optimal_bias(tmp_path, data):
    runner, watch = runner_of(retinanet(tmp_path, data), HOOK, resume=True)
    runner.train()
    assert "bias = " in log_of(runner) and watch.bias[0] != pytest.approx(-4.5951, abs=0.01)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model.bbox_head.loss_cls.use_sigmoid": False}, "bbox_head (RetinaHead) classifies with a softmax"),
        ({"custom": dict(HOOK, module="bbox_head.gone")}, "bbox_head (RetinaHead) has no layer 'gone'"),
        ({"custom": dict(HOOK, max_images=0)}, "max_images must be an integer of at least 1"),
    ],
)
def test_wrong_use_is_named(tmp_path, data, options, expected):
    hook = options.pop("custom", HOOK)
    runner, _ = runner_of(retinanet(tmp_path, data, **options), hook)
    with pytest.raises(UserError) as error:
        runner.train()
    assert expected in str(error.value)


def test_a_hook_of_the_same_name_does_not_reach_mmdet():
    assert type(MMDET_HOOKS.build(HOOK)).__module__ == "ghm_mmdet.hooks.optimal_bias_init_hook"
    assert MMDET_HOOKS.get("OptimalBiasInitHook") is None
