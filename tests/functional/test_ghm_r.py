import functools
import math

import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeds import seeded

from ghm_mmdet.functional import asl1_loss, ghm_r_loss

pytestmark = pytest.mark.usefixtures("on_device")


def random_case(samples, seed, spread=0.05):
    generator = seeded(seed)
    pred = torch.randn(samples, 4, generator=generator, dtype=torch.float64) * spread
    target = torch.randn(samples, 4, generator=generator, dtype=torch.float64) * spread
    weight = (torch.rand(samples, 4, generator=generator) > 0.3).double()
    return pred.requires_grad_(), target, weight


def assert_equals_oracle(loss, pred, expected):
    assert loss.item() == pytest.approx(expected.loss, rel=1e-9, abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, pred)
    assert gradient.flatten().tolist() == pytest.approx(expected.gradient, rel=1e-9, abs=1e-12)


def flat(*tensors):
    return [tensor.flatten().tolist() for tensor in tensors]


@pytest.mark.parametrize("bins", [1, 10, 50])
@pytest.mark.parametrize("mu", [0.02, 1.0])
def test_equals_oracle(bins, mu):
    pred, target, weight = random_case(33, seed=bins)
    expected = oracles.ghm_r(*flat(pred, target, weight), mu, bins)
    assert_equals_oracle(ghm_r_loss(pred, target, weight, mu, bins), pred, expected)
    expected = oracles.ghm_r(*flat(pred, target, torch.ones(33, 4)), mu, bins)
    assert_equals_oracle(ghm_r_loss(pred, target, mu=mu, bins=bins), pred, expected)


def test_total_is_the_sum_of_the_weights():
    pred, target, weight = random_case(20, seed=1)
    weight = weight * torch.rand(20, 4)
    expected = oracles.ghm_r(*flat(pred, target, weight), 0.02, 10)
    assert_equals_oracle(ghm_r_loss(pred, target, weight), pred, expected)


@pytest.mark.parametrize("debias", [False, True])
def test_moving_average_equals_oracle_over_calls(debias):
    average = oracles.MovingAverage(10, 0.7, debias)
    acc_sum = torch.zeros(10, dtype=torch.float64)
    acc_norm = torch.zeros(10, dtype=torch.float64) if debias else None
    for step in range(5):
        pred, target, weight = random_case(10 + step, seed=step)
        loss = ghm_r_loss(pred, target, weight, momentum=0.7, acc_sum=acc_sum, acc_norm=acc_norm)
        assert_equals_oracle(loss, pred, oracles.ghm_r(*flat(pred, target, weight), 0.02, 10, average))
        assert acc_sum.tolist() == pytest.approx(average.sums)


def test_max_weight_equals_oracle():
    pred, target, weight = random_case(40, seed=2)
    expected = oracles.ghm_r(*flat(pred, target, weight), 0.02, 10, max_weight=0.8)
    assert max(expected.weights) == 0.8
    assert_equals_oracle(ghm_r_loss(pred, target, weight, max_weight=0.8), pred, expected)


def test_reductions_agree():
    pred, target, weight = random_case(40, seed=3)
    losses = {name: ghm_r_loss(pred, target, weight, reduction=name) for name in ("none", "mean", "sum")}
    assert losses["none"].shape == pred.shape
    assert losses["none"].sum().item() == pytest.approx(losses["sum"].item())
    assert losses["mean"].item() == pytest.approx(losses["sum"].item() / weight.sum().item())


def test_one_bin_is_plain_asl1():
    pred, target, _ = random_case(40, seed=4)
    assert ghm_r_loss(pred, target, bins=1).item() == pytest.approx(asl1_loss(pred, target).mean().item())


def test_gradcheck():
    norms = (torch.tensor([0.5, 1.5, 1.5, 2.5, 4.5, 4.5, 8.5, 9.5]).double() / 10).view(2, 4)
    pred = (0.02 * norms / (1 - norms**2).sqrt()).requires_grad_()
    target = torch.zeros_like(pred)
    for reduction in ("mean", "none"):
        loss = functools.partial(ghm_r_loss, target=target, reduction=reduction)
        assert torch.autograd.gradcheck(loss, pred, eps=1e-7)
    assert torch.autograd.gradcheck(lambda p: asl1_loss(p, target), pred, eps=1e-7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_computed_in_float32(dtype):
    pred, target, weight = random_case(60, seed=5)
    half = pred.detach().to(dtype).requires_grad_()
    loss = ghm_r_loss(half, target.to(dtype), weight)
    loss.backward()
    assert loss.dtype == torch.float32 and half.grad.dtype == dtype
    assert loss.item() == ghm_r_loss(half.detach().float(), target.to(dtype).float(), weight).item()


@pytest.mark.parametrize("magnitude", [1e-2, 1e3, 1e30])
def test_extreme_differences_keep_their_loss(magnitude):
    pred = torch.full((1, 4), magnitude, requires_grad=True)
    loss = ghm_r_loss(pred, torch.zeros(1, 4))
    loss.backward()
    d = pred[0, 0].item()
    assert loss.item() == pytest.approx(math.hypot(d, 0.02) - 0.02, rel=1e-6)
    assert torch.isfinite(pred.grad).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_empty_and_ignored_input_give_zero(reduction):
    empty = torch.zeros(0, 4, requires_grad=True)
    loss = ghm_r_loss(empty, torch.zeros(0, 4), reduction=reduction).sum()
    loss.backward()
    assert loss.item() == 0 and empty.grad.shape == (0, 4)
    pred, target, weight = random_case(6, seed=6)
    loss = ghm_r_loss(pred, target, torch.zeros_like(weight), reduction=reduction).sum()
    (gradient,) = torch.autograd.grad(loss, pred)
    assert loss.item() == 0 and not gradient.any()


def test_ignored_nan_has_no_effect():
    pred, target, weight = random_case(6, seed=7)
    weight[2] = 0
    broken = pred.detach().clone()
    broken[2] = math.nan
    broken.requires_grad_()
    loss = ghm_r_loss(broken, target, weight)
    (gradient,) = torch.autograd.grad(loss, broken)
    assert loss.item() == ghm_r_loss(pred, target, weight).item() and torch.isfinite(gradient).all()


def test_weight_per_sample_counts_every_coordinate():
    pred, target, _ = random_case(12, seed=8)
    per_sample = torch.rand(12).double()
    per_sample[3] = 0
    expected = ghm_r_loss(pred, target, per_sample[:, None].expand(12, 4)).item()
    assert ghm_r_loss(pred, target, per_sample).item() == pytest.approx(expected, rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    samples=st.integers(0, 30),
    bins=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    spread=st.sampled_from([0.0, 1e-3, 0.05, 10.0]),
)
def test_any_shape_equals_oracle(samples, bins, seed, spread):
    pred, target, weight = random_case(samples, seed, spread)
    loss = ghm_r_loss(pred, target, weight, bins=bins)
    assert_equals_oracle(loss, pred, oracles.ghm_r(*flat(pred, target, weight), 0.02, bins))


def test_asl1_equals_its_formula():
    pred, target, _ = random_case(10, seed=9, spread=2.0)
    expected = [math.sqrt((p - t) ** 2 + 0.3**2) - 0.3 for p, t in zip(*flat(pred, target))]
    assert asl1_loss(pred, target, mu=0.3).flatten().tolist() == pytest.approx(expected, rel=1e-12)


def test_asl1_is_absolute_difference_less_mu_far_from_zero():
    pred = torch.tensor([[5.0, -7.0]])
    assert asl1_loss(pred, torch.zeros(1, 2)).tolist()[0] == pytest.approx([5.0 - 0.02, 7.0 - 0.02], abs=1e-4)


PRED = torch.zeros(4, 4)


@pytest.mark.parametrize(
    ("name", "got", "call"),
    [
        ("mu", "0", lambda: ghm_r_loss(PRED, PRED, mu=0)),
        ("mu", "-1", lambda: asl1_loss(PRED, PRED, mu=-1)),
        ("mu", "nan", lambda: asl1_loss(PRED, PRED, mu=math.nan)),
        ("bins", "-3", lambda: ghm_r_loss(PRED, PRED, bins=-3)),
        ("momentum", "1.5", lambda: ghm_r_loss(PRED, PRED, momentum=1.5)),
        ("reduction", "''", lambda: ghm_r_loss(PRED, PRED, reduction="")),
        ("pred", "int64", lambda: ghm_r_loss(PRED.long(), PRED)),
        ("target", "(4, 3)", lambda: ghm_r_loss(PRED, torch.zeros(4, 3))),
        ("target", "(4,)", lambda: asl1_loss(PRED, torch.zeros(4))),
        ("weight", "(4, 2)", lambda: ghm_r_loss(PRED, PRED, torch.ones(4, 2))),
        ("target", "detach", lambda: ghm_r_loss(PRED, torch.zeros(4, 4, requires_grad=True))),
    ],
)
def test_bad_input_is_named(name, got, call):
    with pytest.raises(ValueError, match=name) as error:
        call()
    assert got in str(error.value)
