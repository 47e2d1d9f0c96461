from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from small_detectors import retinanet
from tools.running import write_shapes

from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints
from ghm_mmdet.errors import UserError
from ghm_mmdet.hooks import FiniteLossHook


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    allow_mmengine_checkpoints()
    root = tmp_path_factory.mktemp("finite") / "data"
    write_shapes(root)
    return root


class Poison(Hook):
    """Makes a weight NaN before the iteration it is told."""

    def __init__(self, iteration: int, layer: str):
        self.iteration, self.layer = iteration, layer

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            runner.model.get_parameter(self.layer).data.fill_(torch.nan)


def train(tmp_path, data, layer: str, iteration: int, interval: int) -> Runner:
    cfg = retinanet(tmp_path, data, custom_hooks=[dict(type="ghm_mmdet.FiniteLossHook", interval=interval)])
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Poison(iteration, layer), priority="HIGHEST")
    runner.train()
    return runner


@pytest.mark.parametrize(
    ("layer", "loss"),
    [("bbox_head.retina_cls.bias", "bbox_head.loss_cls"), ("bbox_head.retina_reg.bias", "bbox_head.loss_bbox")],
)
def test_the_loss_the_iteration_and_the_level_are_named(tmp_path, data, layer, loss):
    with pytest.raises(UserError, match=f"{loss} is nan at iteration 3, call 1 of 4") as error:
        train(tmp_path, data, layer, iteration=2, interval=1)
    assert "max_weight" in str(error.value)


class DictOfLosses(torch.nn.Module):
    """As mmdet's SeesawLoss, which returns one loss for the object and one for its class."""

    use_sigmoid = True

    def forward(self, pred, target, weight=None, avg_factor=None):
        return {"loss_cls_objectness": pred.mean() * 0, "loss_cls_classes": pred.mean()}


class OfTheStep(Hook):
    """A loss of the step that no module computed, as FreeAnchor's."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        outputs["positive_bag_loss"] = torch.tensor(torch.nan if runner.iter == 2 else 1.0)


@pytest.mark.parametrize("kind", ["dict", "function"])
def test_losses_that_are_dicts_or_functions(tmp_path, data, kind):
    cfg = retinanet(tmp_path, data, custom_hooks=[dict(type="ghm_mmdet.FiniteLossHook", interval=1)])
    runner = Runner.from_cfg(cfg)
    if kind == "dict":
        runner.model.bbox_head.loss_cls = DictOfLosses()
        head = runner.model.bbox_head
        head.loss_by_feat = lambda scores, *args: {
            f"{i}.{name}": loss for i, level in enumerate(scores) for name, loss in head.loss_cls(level, None).items()
        }
        runner.register_hook(Poison(2, "bbox_head.retina_cls.bias"), priority="HIGHEST")
    else:
        runner.register_hook(OfTheStep(), priority="HIGHEST")
    expected = "bbox_head.loss_cls.loss_cls_objectness" if kind == "dict" else "positive_bag_loss"
    with pytest.raises(UserError, match=f"{expected} is nan at iteration 3"):
        runner.train()


def test_between_the_intervals_nothing_is_looked_at(tmp_path, data):
    with pytest.raises(UserError, match="at iteration 6"):
        train(tmp_path, data, "bbox_head.retina_cls.bias", iteration=4, interval=3)


def test_no_checkpoint_is_made_of_a_broken_epoch(tmp_path, data):
    with pytest.raises(UserError, match="at iteration 8"):
        train(tmp_path, data, "bbox_head.retina_cls.bias", iteration=5, interval=1000)
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == ["epoch_1.pth"]


def test_a_finite_run_goes_through(tmp_path, data):
    runner = train(tmp_path, data, "bbox_head.retina_cls.bias", iteration=10**6, interval=1)
    assert runner.iter == 8


def test_bad_interval_is_named():
    with pytest.raises(ValueError, match=r"interval.*got 0"):
        FiniteLossHook(interval=0)
