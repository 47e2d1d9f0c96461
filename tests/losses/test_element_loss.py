"""What the losses that are a sum over elements have in common: mmdet's conventions."""

import math

import pytest
import torch
from mmdet.models.losses import CrossEntropyLoss, FocalLoss, SmoothL1Loss
from mmdet.registry import MODELS

from ghm_mmdet.functional import (
    asl1_loss,
    balanced_cross_entropy_loss,
    focal_star_loss,
    ohem_loss,
    soft_focal_loss,
    threshold_cross_entropy_loss,
)
from ghm_mmdet.losses import (
    AlphaBalancedCrossEntropyLoss,
    ASL1Loss,
    FocalStarLoss,
    OHEMLoss,
    SoftFocalLoss,
    ThresholdCrossEntropyLoss,
)

CLASSIFICATION = [OHEMLoss, FocalStarLoss, SoftFocalLoss, AlphaBalancedCrossEntropyLoss, ThresholdCrossEntropyLoss]
ALL = [*CLASSIFICATION, ASL1Loss]


def case_of(loss, samples=50):
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(samples, 5, generator=generator)
    labels = torch.randint(0, 15, (samples,), generator=generator).clamp(max=5)
    weight = (torch.rand(samples, generator=generator) > 0.2).float() * 0.5
    target = torch.randn(samples, 5, generator=generator) if loss is ASL1Loss else labels
    return pred.requires_grad_(), target, weight


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (OHEMLoss(neg_pos_ratio=2), lambda p, t: ohem_loss(p, t, neg_pos_ratio=2)),
        (FocalStarLoss(4, 0, 0.3), lambda p, t: focal_star_loss(p, t, 4, 0, 0.3)),
        (SoftFocalLoss(1.5, 0.3), lambda p, t: soft_focal_loss(p, t, 1.5, 0.3)),
        (ThresholdCrossEntropyLoss(0.3), lambda p, t: threshold_cross_entropy_loss(p, t, threshold=0.3)),
        (AlphaBalancedCrossEntropyLoss(0.6), lambda p, t: balanced_cross_entropy_loss(p, t, 0.6)),
        (ASL1Loss(0.1), lambda p, t: asl1_loss(p, t, 0.1)),
    ],
)
def test_module_equals_function(module, function):
    pred, target, _ = case_of(type(module))
    assert torch.equal(module(pred, target, reduction_override="none"), function(pred, target))


@pytest.mark.parametrize("loss", ALL)
def test_reductions(loss):
    pred, target, weight = case_of(loss)
    elements = loss(reduction="none", loss_weight=3)(pred, target, weight)
    assert elements.shape == pred.shape
    assert loss(reduction="none")(pred, target, weight, avg_factor=7).shape == pred.shape
    assert loss(loss_weight=3)(pred, target, weight).item() == pytest.approx(elements.mean().item())
    assert loss(loss_weight=3, reduction="sum")(pred, target, weight).item() == pytest.approx(elements.sum().item())
    assert loss(loss_weight=3)(pred, target, weight, avg_factor=7).item() == pytest.approx(elements.sum().item() / 7)
    overridden = loss(loss_weight=3)(pred, target, weight, reduction_override="sum")
    assert overridden.item() == pytest.approx(elements.sum().item())
    factor = torch.tensor(7.0)
    assert loss()(pred, target, weight, factor).item() == pytest.approx(elements.sum().item() / 21)


@pytest.mark.parametrize("loss", ALL)
def test_weight_is_a_factor_per_sample_column_or_element(loss):
    pred, target, weight = case_of(loss)
    sums = [
        loss(reduction="sum")(pred, target, form).item()
        for form in (weight, weight[:, None], weight[:, None].expand(50, 5), 2 * weight)
    ]
    assert sums[1:3] == [pytest.approx(sums[0])] * 2 and sums[3] == pytest.approx(2 * sums[0])
    kept = weight > 0
    assert sums[0] == pytest.approx(0.5 * loss(reduction="sum")(pred[kept], target[kept]).item(), rel=1e-5)
    assert sums[3] == pytest.approx(loss(reduction="sum")(pred, target, kept).item(), rel=1e-5)


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize(
    ("reduction", "avg_factor"), [("none", None), ("mean", None), ("sum", None), ("none", 1.0), ("mean", 1.0)]
)
def test_empty_and_ignored_input_give_zero_with_a_gradient(loss, reduction, avg_factor):
    for samples in (0, 6):
        pred, target, weight = case_of(loss, samples)
        value = loss(reduction=reduction)(pred, target, torch.zeros_like(weight), avg_factor).sum()
        (gradient,) = torch.autograd.grad(value, pred)
        assert value.item() == 0 and gradient.shape == pred.shape and not gradient.any()


@pytest.mark.parametrize("loss", ALL)
def test_ignored_infinities_and_nans_have_no_effect(loss):
    pred, target, weight = case_of(loss)
    weight[3:6] = 0
    broken, broken_target = pred.detach().clone(), target.clone()
    broken[3], broken[4] = math.nan, math.inf
    if loss is ASL1Loss:
        broken_target[5] = -math.inf
    broken.requires_grad_()
    value = loss()(broken, broken_target, weight)
    (gradient,) = torch.autograd.grad(value, broken)
    assert value.item() == loss()(pred, target, weight).item()
    assert torch.isfinite(gradient).all() and not gradient[3:6].any()


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_computed_in_float32(loss, dtype):
    pred, target, weight = case_of(loss)
    half = pred.detach().to(dtype).requires_grad_()
    value = loss()(half, target, weight.to(dtype), avg_factor=3)
    value.backward()
    assert value.dtype == torch.float32 and half.grad.dtype == dtype
    assert value.item() == loss()(half.detach().float(), target, weight, avg_factor=3).item()


@pytest.mark.parametrize("loss", ALL)
def test_gradcheck(loss):
    pred, target, weight = case_of(loss, 8)
    if loss is ASL1Loss:
        target = target.double()
    pred = pred.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss()(p, target, weight.double(), avg_factor=3), pred)


@pytest.mark.parametrize("loss", ALL)
def test_registered(loss):
    built = MODELS.build(dict(type=f"ghm_mmdet.{loss.__name__}", loss_weight=2.0))
    assert type(built) is loss and built.loss_weight == 2
    assert "loss_weight=2.0" in repr(built)


@pytest.mark.parametrize("loss", CLASSIFICATION)
def test_heads_read_use_sigmoid(loss):
    assert loss(use_sigmoid=True).use_sigmoid is True


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (OHEMLoss(math.inf, loss_weight=1.7), CrossEntropyLoss(use_sigmoid=True, loss_weight=1.7)),
        (AlphaBalancedCrossEntropyLoss(0.3, loss_weight=1.7), FocalLoss(gamma=0.0, alpha=0.3, loss_weight=1.7)),
        (SoftFocalLoss(2.0, 0.3, loss_weight=1.7), FocalLoss(gamma=2.0, alpha=0.3, loss_weight=1.7)),
        (FocalStarLoss(1, 0, 0.3, loss_weight=1.7), FocalLoss(gamma=0.0, alpha=0.3, loss_weight=1.7)),
    ],
)
@pytest.mark.parametrize("avg_factor", [None, 12.0])
def test_limits_are_losses_of_mmdet(ours, theirs, avg_factor):
    pred, target, weight = case_of(type(ours))
    values = [loss(pred, target, weight, avg_factor=avg_factor) for loss in (ours, theirs)]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5)
    torch.testing.assert_close(*(torch.autograd.grad(value, pred)[0] for value in values))


@pytest.mark.parametrize(("mu", "beta"), [(0.02, 0.11), (0.5, 1.0)])
def test_asl1_is_smooth_l1_up_to_a_constant_far_from_zero(mu, beta):
    pred = (torch.tensor([[50.0, -70.0, 300.0, -1000.0]])).requires_grad_()
    target = torch.ones(1, 4)
    values = [
        loss(pred, target, reduction_override="none") for loss in (ASL1Loss(mu), SmoothL1Loss(beta, reduction="none"))
    ]
    torch.testing.assert_close(values[0] + mu, values[1] + beta / 2, rtol=0, atol=0.003)
    torch.testing.assert_close(*(torch.autograd.grad(value.sum(), pred)[0] for value in values), rtol=0, atol=1e-4)


PRED = torch.zeros(4, 3)
LABELS = torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize(
    ("name", "got", "call"),
    [
        ("neg_pos_ratio", "-1", lambda: OHEMLoss(neg_pos_ratio=-1)),
        ("per_image", "'yes'", lambda: OHEMLoss(per_image="yes")),
        ("num_images", "per_image", lambda: OHEMLoss(per_image=True)(PRED, LABELS)),
        ("gamma", "0", lambda: FocalStarLoss(gamma=0)),
        ("beta", "inf", lambda: FocalStarLoss(beta=math.inf)),
        ("gamma", "-1", lambda: SoftFocalLoss(gamma=-1)),
        ("alpha", "2", lambda: SoftFocalLoss(alpha=2)),
        ("use_sigmoid", "SoftFocalLoss", lambda: SoftFocalLoss(use_sigmoid=False)),
        ("alpha", "2", lambda: FocalStarLoss(alpha=2)),
        ("alpha", "-1", lambda: AlphaBalancedCrossEntropyLoss(-1)),
        ("mu", "0", lambda: ASL1Loss(0)),
        ("use_sigmoid", "OHEMLoss", lambda: OHEMLoss(use_sigmoid=False)),
        ("use_sigmoid", "FocalStarLoss", lambda: FocalStarLoss(use_sigmoid=False)),
        ("use_sigmoid", "False", lambda: AlphaBalancedCrossEntropyLoss(use_sigmoid=False)),
        ("loss_weight", "-1", lambda: ASL1Loss(loss_weight=-1)),
        ("reduction", "'total'", lambda: OHEMLoss(reduction="total")),
        ("reduction_override", "'total'", lambda: ASL1Loss()(PRED, PRED, reduction_override="total")),
        ("avg_factor", "sum", lambda: ASL1Loss(reduction="sum")(PRED, PRED, avg_factor=3)),
        ("pred", "int64", lambda: ASL1Loss()(PRED.long(), PRED)),
        ("target", "(4,)", lambda: ASL1Loss()(PRED, torch.zeros(4), torch.ones(4))),
        ("weight", "(5,)", lambda: FocalStarLoss()(PRED, LABELS, torch.ones(5))),
        ("weight", "(5,)", lambda: OHEMLoss()(PRED, LABELS, torch.ones(5))),
    ],
)
def test_bad_arguments_are_named(name, got, call):
    with pytest.raises(ValueError, match=name) as error:
        call()
    assert got in str(error.value)
