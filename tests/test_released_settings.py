"""configs/retinanet_ghm_r50.py against mmdet's own GHM config: the same model, schedule, state and training."""

import os

import pytest
from conftest import REPO
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed

OURS = str(REPO / "configs" / "retinanet_ghm_r50.py")


def read(path: str) -> Config:
    init_default_scope("mmdet")
    return Config.fromfile(path)


@pytest.fixture
def theirs(tmp_path) -> str:
    path = tmp_path / "theirs.py"
    path.write_text('_base_ = "mmdet::ghm/retinanet_r50_fpn_ghm-1x_coco.py"\n')
    return str(path)


def test_only_the_loss_types_differ(theirs):
    ours, theirs = read(OURS), read(theirs)
    for name in ("loss_cls", "loss_bbox"):
        loss = ours.model.bbox_head[name]
        assert loss.type.startswith("ghm_mmdet.")
        loss.type = loss.type.removeprefix("ghm_mmdet.")
    assert ours.model == theirs.model
    for part in ("optim_wrapper", "param_scheduler", "train_cfg", "auto_scale_lr", "default_hooks"):
        assert ours[part] == theirs[part], part


def test_data_root_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("COCO_ROOT", "/somewhere/coco")
    cfg = read(OURS)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert os.path.normpath(loader.dataset.data_root) == "/somewhere/coco"
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert os.path.normpath(evaluator.ann_file) == "/somewhere/coco/annotations/instances_val2017.json"
    monkeypatch.delenv("COCO_ROOT")
    assert os.path.normpath(read(OURS).train_dataloader.dataset.data_root) == "data/coco"


def test_released_weights_load_with_no_missing_and_no_unexpected_key(theirs):
    models = [MODELS.build(read(path).model) for path in (OURS, theirs)]
    for ours, theirs in (models, models[::-1]):
        result = ours.load_state_dict(theirs.state_dict(), strict=True)
        assert not result.missing_keys and not result.unexpected_keys
    assert {"bbox_head.loss_cls.edges", "bbox_head.loss_cls.acc_sum", "bbox_head.loss_bbox.acc_sum"} <= set(
        models[0].state_dict()
    )


def train(path: str, root, iterations: int) -> list[dict[str, float]]:
    """The losses of the first iterations on real images at a small scale, the network as it starts from a seed."""
    cfg = read(path)
    cfg.model.backbone.init_cfg = None
    loader = cfg.train_dataloader
    loader.update(num_workers=0, persistent_workers=False)
    loader.dataset.data_root = f"{root}/"
    for transform in loader.dataset.pipeline:
        if transform.type == "Resize":
            transform.scale = (160, 128)
    set_random_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    losses = []
    set_random_seed(0)
    batches = Runner.build_dataloader(loader, seed=0)
    while len(losses) < iterations:
        for batch in batches:
            logged = model.train_step(batch, optim_wrapper)
            losses.append({name: value.item() for name, value in logged.items()})
            if len(losses) == iterations:
                break
    return losses


@pytest.mark.slow
def test_twenty_iterations_give_the_same_losses(theirs, tiny_coco_root):
    ours, theirs = (train(path, tiny_coco_root, 20) for path in (OURS, theirs))
    assert len(ours) == 20 and {"loss", "loss_cls", "loss_bbox"} <= set(ours[0])
    for step, (a, b) in enumerate(zip(ours, theirs)):
        for name in b:
            assert a[name] == pytest.approx(b[name], rel=1e-4), (step, name)
    assert ours[-1]["loss_cls"] != ours[0]["loss_cls"]
