"""Types and arguments of all but model and data: each mistake is a plain message that has the nearest name."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from mmengine.runner import Runner
from tools.running import CONFIG
from torch import nn

from ghm_mmdet.cli.config_parts import build_optimizer, build_runner, check_parts, check_schedulers
from ghm_mmdet.config import load_config, parse_options
from ghm_mmdet.data_check.preflight import enter_default_scope
from ghm_mmdet.errors import UserError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.py"
    path.write_text(CONFIG.format(data=tmp_path))
    return path


def load(config: Path, *options: str):
    return load_config(str(config), list(options), work_dir=None, launcher="none")


def check(cfg) -> None:
    enter_default_scope(cfg)
    check_parts(cfg, ("train", "val", "test"))
    check_schedulers(cfg, build_optimizer(cfg, nn.Linear(2, 2)))


LOADER, HOOKS, OPTIMIZER = "train_dataloader", "default_hooks", "optim_wrapper.optimizer"
MISTAKES = {
    f"{LOADER}.batchsize=2": ["'batchsize'", "'batch_size'", LOADER],
    f"{LOADER}.num_worker=2": ["'num_worker'", "'num_workers'", LOADER],
    f"{LOADER}.num_workers=-1": [LOADER, "num_workers"],
    f"{LOADER}.batch_size=0": [LOADER, "batch_size"],
    f"{LOADER}.persistent_workers=True": [f"{LOADER}.persistent_workers=False", "num_workers"],
    f"{LOADER}.prefetch_factor=2": [LOADER, "prefetch_factor"],
    "val_dataloader.persistent_workers=True": ["val_dataloader.persistent_workers=False"],
    f"{LOADER}.sampler.shuffel=False": ["'shuffel'", "'shuffle'", f"{LOADER}.sampler"],
    f"{LOADER}.sampler.type=DefaultSampeler": ["unknown type 'DefaultSampeler'", "'DefaultSampler'"],
    f"{LOADER}.batch_sampler.droplast=True": ["'droplast'", "'drop_last'"],
    "train_cfg.max_epoch=3": ["'max_epoch'", "'max_epochs'", "train_cfg"],
    "train_cfg.val_intervall=3": ["'val_intervall'", "'val_interval'"],
    "train_cfg.type=EpochBasedTrainlop": ["'EpochBasedTrainlop'", "'EpochBasedTrainLoop'"],
    "val_cfg.fp61=True": ["'fp61'", "'fp16'", "val_cfg"],
    f"{OPTIMIZER}.weight_decy=0.1": ["'weight_decy'", "'weight_decay'", OPTIMIZER],
    f"{OPTIMIZER}.momentun=0.1": ["'momentun'", "'momentum'"],
    f"{OPTIMIZER}.lr=-1": ["optim_wrapper", "learning rate"],
    f"{OPTIMIZER}.lr=fast": ["optim_wrapper"],
    "optim_wrapper.clip_gradient.max_norm=3": ["'clip_gradient'", "'clip_grad'", "optim_wrapper"],
    "optim_wrapper.acumulative_counts=3": ["'acumulative_counts'", "'accumulative_counts'"],
    "optim_wrapper.paramwise_cfg.norm_decay_mul=0": ["'norm_decay_mul'", "'norm_decay_mult'"],
    "param_scheduler.0.factr=0.1": ["'factr'", "'factor'", "param_scheduler.0"],
    "param_scheduler.0.factor=7": ["param_scheduler.0", "factor"],
    "param_scheduler.0.type=ConstantLr": ["'ConstantLr'", "'ConstantLR'"],
    "val_evaluator.metrics_=bbox": ["'metrics_'", "val_evaluator"],
    "val_evaluator.classwize=True": ["'classwize'", "'classwise'", "val_evaluator"],
    "val_evaluator.metric=bboxes": ["val_evaluator", "bboxes"],
    "test_evaluator.metric_item=[mAP]": ["'metric_item'", "'metric_items'", "test_evaluator"],
    f"{HOOKS}.checkpoint.intervall=2": ["'intervall'", "'interval'", f"{HOOKS}.checkpoint"],
    f"{HOOKS}.checkpoint.max_keep_ckpt=2": ["'max_keep_ckpt'", "'max_keep_ckpts'"],
    f"{HOOKS}.checkpoint.save_begin=-2": [f"{HOOKS}.checkpoint", "save_begin"],
    f"{HOOKS}.logger.intrval=2": ["'intrval'", "'interval'", f"{HOOKS}.logger"],
    f"{HOOKS}.chekpoint.interval=2": [f"{HOOKS}.chekpoint has no type", "'checkpoint'"],
    "custom_hooks.0.type=EMAHok": ["unknown type 'EMAHok'", "'EMAHook'"],
    f"{HOOKS}.checkpoint.interval=often": [f"{HOOKS}.checkpoint.interval is 'often'"],
    f"{HOOKS}.checkpoint=CheckpointHook": [f"{HOOKS}.checkpoint is 'CheckpointHook', not a dictionary"],
    "custom_hooks=[EMAHook]": ["custom_hooks.0 is 'EMAHook', not a dictionary"],
    "param_scheduler=ConstantLR": ["param_scheduler.0 is 'ConstantLR', not a dictionary"],
    "val_evaluator=CocoMetric": ["val_evaluator is 'CocoMetric', not a dictionary"],
    "optim_wrapper.clip_grad.max_norm=big": ["optim_wrapper", "'big'"],
    "optim_wrapper.clip_grad.max_nrm=3": ["optim_wrapper", "'max_nrm'"],
    "optim_wrapper.clip_grad.max_norm=-1": ["optim_wrapper.clip_grad.max_norm is -1, not above 0"],
    "optim_wrapper.clip_grad.max_norm=0": ["optim_wrapper.clip_grad.max_norm is 0, not above 0"],
    f"{OPTIMIZER}.lr=0": ["nothing would be learned: the lr of optim_wrapper is 0"],
    "param_scheduler.0.factor=0": ["nothing would be learned: param_scheduler.0 makes the lr 0"],
    f"{LOADER}.sampler.type=InfiniteSampler": ["an epoch of InfiniteSampler has no end"],
    "randomness.seed=-5": ["randomness.seed is -5"],
    "randomness.seed=abc": ["randomness.seed is 'abc'"],
    "randomness.sed=3": ["'sed'", "'seed'", "randomness"],
    "env_cfg.cudnn_benchmrk=True": ["'cudnn_benchmrk'", "'cudnn_benchmark'"],
    "log_processor.window_sise=3": ["'window_sise'", "'window_size'", "log_processor"],
    "visualizer.vis_backends.0.type=WandbVisBackend": ["needs wandb", "pip install wandb", "vis_backends.0"],
    "visualizer.vis_backends.0.type=TensorbordVisBackend": ["'TensorbordVisBackend'", "'TensorboardVisBackend'"],
    "visualizer.nam=x": ["'nam'", "'name'", "visualizer"],
}
READ_BY_NOTHING = {
    "optim_wraper.clip_grad.max_norm=3": ["'optim_wraper'", "'optim_wrapper'"],
    "train_dataloder.batch_size=3": ["'train_dataloder'", "'train_dataloader'"],
    "randomnes.seed=3": ["'randomnes'", "'randomness'"],
    "load_form=a.pth": ["'load_form'", "'load_from'"],
}


def test_every_mistake_is_named_in_two_lines(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ghm_mmdet.cli import config_parts

    monkeypatch.setattr(config_parts, "find_spec", lambda name: None)
    whole = load(config)
    whole.param_scheduler = [whole.param_scheduler]
    whole.custom_hooks = [{"type": "EMAHook"}]
    check(whole)
    wrong = {}
    for option, expected in MISTAKES.items():
        cfg = copy.deepcopy(whole)
        try:
            cfg.merge_from_dict(parse_options([option]))
            check(cfg)
            wrong[option] = "passed"
        except UserError as error:
            said = str(error)
            if said.count("\n") > 1 or any(part not in said for part in expected):
                wrong[option] = said
    assert not wrong, "\n\n".join(f"{o}: {m}" for o, m in wrong.items())


def test_what_the_runner_refuses(config: Path) -> None:
    cfg = load(config, "val_cfg=None")
    with pytest.raises(UserError, match="the runner: ValueError: val_dataloader, val_cfg, and val_evaluator"):
        build_runner(cfg, Runner.from_cfg)


def test_another_loop_and_what_only_a_config_of_ones_own_has(config: Path) -> None:
    config.write_text(
        config.read_text() + 'train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=9)\n'
        "own_notes = dict(a=1)\nval_evaluator_large = dict()\npipeline_large = []\n"
        'default_hooks = dict(checkpoint=dict(save_optimizer=False, priority="LOW"))\n'
    )
    check(load(config, "own_entry=x", "model_wrapper_cfg=None"))


@pytest.mark.parametrize(("option", "expected"), READ_BY_NOTHING.items())
def test_options_that_nothing_reads(config: Path, option: str, expected: list[str]) -> None:
    with pytest.raises(UserError, match=f"nothing reads the entry {expected[0]}.*\nDid you mean {expected[1]}"):
        load(config, option)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("train_cfg=[3]", r"train_cfg is \[3\], not a dictionary"),
        ("train_dataloader=4", "train_dataloader is 4, not a dictionary"),
        ('train_cfg={"max_iters":3}', "takes no dictionary.*\nWrite each of its entries, train_cfg.subkey=value"),
    ],
)
def test_options_in_place_of_a_dictionary(config: Path, option: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        load(config, option)


@pytest.mark.parametrize("entry", ["custom_hook = []", "modle = dict()", "val_evalutor = dict()"])
def test_entries_that_nothing_reads(config: Path, entry: str) -> None:
    config.write_text(f"{config.read_text()}{entry}\n")
    with pytest.raises(UserError, match=f"nothing reads the entry '{entry.split()[0]}'.*\nDid you mean"):
        load(config)


@pytest.mark.parametrize("files", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}])
def test_circular_bases(files: dict[str, str], tmp_path: Path) -> None:
    for name, base in files.items():
        (tmp_path / f"{name}.py").write_text(f'_base_ = ["./{base}.py"]\n')
    with pytest.raises(UserError, match=r"go round in a circle: .*py -> .*py"):
        load_config(str(tmp_path / "a.py"), [], work_dir=None, launcher="none")


def test_a_delete_that_finds_nothing_is_no_argument(config: Path) -> None:
    """mmengine leaves it in an entry that the base does not have, be it of a config or of an option."""
    config.write_text(
        config.read_text() + 'model["neck"]["norm_cfg"] = dict(_delete_=True, type="BN")\n'
        'custom_hooks = [dict(type="EMAHook", _delete_=True)]\n'
    )
    head = "model.bbox_head"
    cfg = load(config, f"{head}.loss_new._delete_=True", f"{head}.loss_new.type=A", f"{head}.loss_cls._delete_=True")
    assert cfg.model.neck.norm_cfg == {"type": "BN"} and cfg.custom_hooks == [{"type": "EMAHook"}]
    assert cfg.model.bbox_head.loss_new == {"type": "A"} and cfg.model.bbox_head.loss_cls == {}


@pytest.mark.parametrize("option", ["model.train_cfg.pos_weight=nan", "a.b=[1,[2,nan]]", "train_cfg.max_epochs=NaN"])
def test_nan_is_no_value(option: str, config: Path) -> None:
    """Every comparison with it is false, so that an IoU threshold, say, leaves no positive."""
    place = option.partition("=")[0] + (".1.1" if "[" in option else "")
    with pytest.raises(UserError, match=rf"^{place} is NaN, .* in the config {config}"):
        load(config, option)
