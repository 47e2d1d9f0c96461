"""The classification loss over all levels, of heads whose boxes need the stride of each."""

from __future__ import annotations

import inspect

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData
from torch import nn

from ghm_mmdet.functional import ghm_c_loss
from ghm_mmdet.heads.gathered_calls import gathered_calls

QFL = dict(type="mmdet.QualityFocalLoss", use_sigmoid=True)
GHMC = dict(type="ghm_mmdet.GHMC", bins=10, momentum=0.0, use_sigmoid=True, normalize="positives", max_weight=10.0)
GIOU = dict(type="mmdet.GIoULoss")
LEVELS = (8, 4, 2)


def head_of(name: str, loss_cls: dict, scope: str) -> nn.Module:
    common = dict(num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1, loss_cls=loss_cls, loss_bbox=GIOU)
    square = dict(type="mmdet.AnchorGenerator", ratios=[1.0], octave_base_scale=2, scales_per_octave=1)
    square["strides"] = [8, 16, 32]
    group_norm = dict(type="GN", num_groups=4)
    assigners = dict(GFLHead=dict(type="mmdet.ATSSAssigner", topk=3), TOODHead=dict(type="TaskAlignedAssigner", topk=3))
    points = dict(
        anchor_generator=dict(type="mmdet.MlvlPointGenerator", offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type="mmdet.DistancePointBBoxCoder"),
        norm_cfg=dict(type="BN"),
        with_objectness=False,
    )
    anchors = dict(anchor_generator=square, norm_cfg=group_norm)
    own = {
        "GFLHead": dict(anchors),
        "TOODHead": dict(
            anchors,
            num_dcn=0,
            initial_loss_cls=loss_cls,
            bbox_coder=dict(type="mmdet.DeltaXYWHBBoxCoder"),
        ),
        "RTMDetHead": dict(points),
        "RTMDetSepBNHead": dict(points, share_conv=True, exp_on_reg=False),
    }[name]
    assigner = assigners.get(name, dict(type="mmdet.DynamicSoftLabelAssigner", topk=3))
    train_cfg = dict(assigner=assigner, allowed_border=-1, pos_weight=-1)
    if name == "TOODHead":
        train_cfg.update(initial_epoch=0, initial_assigner=assigners["GFLHead"], alpha=1, beta=6)
    torch.manual_seed(0)
    config = ConfigDict(type=f"ghm_mmdet.{name}", density_scope=scope, train_cfg=train_cfg, **common, **own)
    return MODELS.build(config).train()


def losses_of(head: nn.Module) -> tuple[dict, list[torch.Tensor]]:
    """The losses of two images, one of them empty, by name, and the gradients of the classification's."""
    MessageHub.get_current_instance().update_info("epoch", 1)
    generator = torch.Generator().manual_seed(1)
    features = [torch.randn(2, 16, size, size, generator=generator) for size in LEVELS]
    truth = [
        InstanceData(bboxes=torch.tensor([[5.0, 9.0, 40.0, 50.0], [20, 3, 60, 30]]), labels=torch.tensor([0, 2])),
        InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64)),
    ]
    metas = [dict(img_shape=(64, 64), pad_shape=(64, 64), batch_input_shape=(64, 64))] * 2
    if type(head).__name__ == "TOODHead":
        head.epoch = 1
    losses = {name: sum(value) for name, value in head.loss_by_feat(*head(features), truth, metas).items()}
    weights = list(head.parameters())
    gradients = torch.autograd.grad(losses["loss_cls"], weights, allow_unused=True, retain_graph=True)
    return losses, [torch.zeros_like(p) if g is None else g for p, g in zip(weights, gradients)]


@pytest.mark.parametrize("name", ["GFLHead", "TOODHead", "RTMDetHead", "RTMDetSepBNHead"])
def test_without_a_density_the_scope_makes_no_difference(name):
    (losses, gradients), (expected, theirs) = (losses_of(head_of(name, QFL, scope)) for scope in ("batch", "level"))
    assert set(losses) == set(expected) >= {"loss_cls", "loss_bbox"}
    for key in expected:
        torch.testing.assert_close(losses[key], expected[key])
    assert any(gradient.any() for gradient in theirs)
    for ours, other in zip(gradients, theirs):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["GFLHead", "TOODHead", "RTMDetHead", "RTMDetSepBNHead"])
def test_batch_scope_is_the_loss_over_all_that_the_levels_give(name):
    calls = []

    def keep(module, args, kwargs):
        calls.append((*args, kwargs))

    by_level = head_of(name, QFL, "level")
    by_level.loss_cls.register_forward_pre_hook(keep, with_kwargs=True)
    losses_of(by_level)
    assert len(calls) == len(LEVELS)
    logits = torch.cat([scores for scores, *_ in calls])
    target = torch.zeros_like(logits)
    labels = torch.cat([targets[0] for _, targets, *_ in calls])
    quality = torch.cat([targets[1] for _, targets, *_ in calls])
    foreground = (labels >= 0) & (labels < 3)
    target[foreground, labels[foreground]] = quality[foreground]
    # GFL divides by the number of positives, the others, behind the loss, by the sum of their scores.
    avg_factor = calls[0][-1]["avg_factor"]
    divisor = avg_factor if name == "GFLHead" else quality.sum().clamp(min=1)
    expected = ghm_c_loss(logits, target, bins=10, max_weight=10.0, normalize="positives", avg_factor=divisor)
    of_batch, of_levels = (losses_of(head_of(name, GHMC, scope))[0]["loss_cls"] for scope in ("batch", "level"))
    torch.testing.assert_close(of_batch, expected, rtol=1e-4, atol=0)
    assert abs(of_levels - expected) > 0.01 * expected


class Spy(nn.Module):
    def forward(self, pred, target, weight=None, avg_factor=None):
        self.got = (pred, target, weight, avg_factor)
        return pred.sum() / avg_factor


def test_elements_come_in_the_order_of_the_images():
    loss = Spy()
    first, second = torch.arange(4.0).reshape(4, 1), torch.arange(10.0, 16.0).reshape(6, 1)
    with gathered_calls(loss, number=2, num_images=2):
        assert list(inspect.signature(loss.forward).parameters) == ["pred", "target", "weight", "avg_factor"]
        zero = loss(first, (first + 100, first[:, 0]), weight=None, avg_factor=2.0)
        total = loss(second, (second + 100, second[:, 0]), weight=None, avg_factor=2.0)
    expected = torch.tensor([0.0, 1, 10, 11, 12, 2, 3, 13, 14, 15])
    pred, (target, scores), weight, avg_factor = loss.got
    assert torch.equal(pred[:, 0], expected) and torch.equal(target[:, 0], expected + 100)
    assert torch.equal(scores, expected) and weight is None and avg_factor == 2.0
    assert zero == 0 and total == expected.sum() / 2
    # And it is itself again.
    assert loss(first, None, avg_factor=1.0) == 6 and "forward" not in vars(loss)


def test_what_counts_the_calls_stays():
    loss, seen = Spy(), []
    plain = loss.forward
    loss.forward = lambda *args, **kwargs: seen.append(args) or plain(*args, **kwargs)
    counting = loss.forward
    with gathered_calls(loss, number=2, num_images=1):
        for _ in range(2):
            loss(torch.ones(3, 1), None, avg_factor=1.0)
    assert loss.forward is counting and len(seen) == 1 and len(seen[0][0]) == 6


@pytest.mark.parametrize(("calls", "said"), [([1.0], "called 1 times for 2 levels"), ([1.0, 2.0], "not the same for")])
def test_levels_that_do_not_fit_are_refused(calls, said):
    loss = Spy()
    with pytest.raises(TypeError, match=said), gathered_calls(loss, number=2, num_images=1):
        for avg_factor in calls:
            loss(torch.ones(3, 1), None, avg_factor=avg_factor)
    assert "forward" not in vars(loss)
