"""With mmdet's arguments our losses give mmdet's values, gradients and state."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.losses import GHMC as MMDetGHMC
from mmdet.models.losses import GHMR as MMDetGHMR
from mmdet.models.losses import FocalLoss

from ghm_mmdet.functional.soft_focal import soft_focal_loss
from ghm_mmdet.losses import GHMC, GHMR


def assert_same(ours, theirs, inputs, pred):
    values, gradients = [], []
    for loss in (ours, theirs):
        value = loss(pred, *inputs)
        values.append(value.item())
        gradients.append(torch.autograd.grad(value, pred)[0])
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5 * gradients[1].abs().max().item())
    if theirs.momentum > 0:
        torch.testing.assert_close(ours.acc_sum, theirs.acc_sum, rtol=1e-5, atol=0)


@pytest.mark.parametrize("momentum", [0, 0.75])
@pytest.mark.parametrize("bins", [1, 10, 30])
@pytest.mark.parametrize("form", ["labels", "one-hot"])
@pytest.mark.parametrize("classes", [1, 20])
def test_classification_over_a_sequence(momentum, bins, form, classes):
    ours = GHMC(bins=bins, momentum=momentum, loss_weight=1.7)
    theirs = MMDetGHMC(bins=bins, momentum=momentum, loss_weight=1.7)
    for step in range(6):
        generator = torch.Generator().manual_seed(step)
        samples = 50 * (step + 1)
        # Narrow at first, so that most bins are empty; some with a wide range of norms later.
        logits = torch.randn(samples, classes, generator=generator) * (step + 0.2) - 2
        labels = torch.randint(0, 3 * classes, (samples,), generator=generator).clamp(max=classes)
        mask = (torch.rand(samples, generator=generator) > 0.1).float()
        if step == 3:
            mask.zero_()
        target = labels
        if form == "one-hot":
            target = F.one_hot(labels, classes + 1)[:, :classes].float()
            mask = mask[:, None].expand(samples, classes)
        assert_same(ours, theirs, (target, mask), logits.requires_grad_())


@pytest.mark.parametrize("momentum", [0, 0.7])
@pytest.mark.parametrize("mu", [0.02, 0.5])
def test_regression_over_a_sequence(momentum, mu):
    ours = GHMR(mu=mu, momentum=momentum, loss_weight=10.0)
    theirs = MMDetGHMR(mu=mu, momentum=momentum, loss_weight=10.0)
    for step in range(6):
        generator = torch.Generator().manual_seed(step)
        pred = torch.randn(40 * (step + 1), 4, generator=generator) * 0.1 * step
        target = torch.randn(pred.shape, generator=generator) * 0.01
        weight = (torch.rand(pred.shape, generator=generator) > 0.5).float()
        if step == 4:
            weight *= 0.25
        assert_same(ours, theirs, (target, weight), pred.requires_grad_())


def test_a_level_of_coco_size():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 80, generator=generator) * 2 - 4
    labels = torch.full((20_000,), 80)
    labels[torch.randperm(20_000, generator=generator)[:100]] = torch.randint(0, 80, (100,), generator=generator)
    assert_same(GHMC(bins=30, momentum=0), MMDetGHMC(bins=30), (labels, torch.ones(20_000)), logits.requires_grad_())


@pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (GHMC, MMDetGHMC, {"bins": 30, "momentum": 0.75}),
        (GHMC, MMDetGHMC, {"bins": 7, "momentum": 0}),
        (GHMR, MMDetGHMR, {"momentum": 0.7}),
        (GHMR, MMDetGHMR, {"bins": 10, "momentum": 0}),
    ],
)
def test_state_is_interchangeable(ours, theirs, arguments):
    ours, theirs = ours(**arguments), theirs(**arguments)
    if theirs.momentum > 0:
        theirs.acc_sum.uniform_(1, 100)
    ours.load_state_dict(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    theirs.load_state_dict(ours.state_dict())


def test_soft_focal_loss_of_hard_targets_is_focal_loss():
    generator = torch.Generator().manual_seed(1)
    logits = (torch.randn(30, 4, generator=generator, dtype=torch.float64) * 3).requires_grad_()
    labels = torch.randint(0, 5, (30,), generator=generator)
    theirs = FocalLoss(gamma=2.0, alpha=0.25, reduction="sum")(logits, labels)
    ours = soft_focal_loss(logits, labels, 2.0, 0.25).sum()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))
