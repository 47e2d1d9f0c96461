import functools
import math

import oracles
import pytest
import torch
from seeds import seeded

from ghm_mmdet.functional import balanced_cross_entropy_loss, focal_star_loss

pytestmark = pytest.mark.usefixtures("on_device")


def random_case(seed=0, samples=30, classes=4):
    generator = seeded(seed)
    logits = torch.randn(samples, classes, generator=generator, dtype=torch.float64) * 3
    return logits.requires_grad_(), torch.randint(0, classes + 1, (samples,), generator=generator)


@pytest.mark.parametrize(("gamma", "beta", "alpha"), [(2, 1, 0.25), (4, 0, 0.25), (3, 0, 0.3), (0.5, -2, 0.9)])
@pytest.mark.parametrize("form", ["labels", "one-hot"])
def test_equals_oracle(gamma, beta, alpha, form):
    logits, labels = random_case()
    flat = oracles.one_hot(labels.tolist(), 4)
    target = labels if form == "labels" else torch.tensor(flat).view(30, 4)
    expected = [oracles.focal_star(x, t == 1, gamma, beta, alpha) for x, t in zip(logits.flatten().tolist(), flat)]
    loss = focal_star_loss(logits, target, gamma, beta, alpha)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.flatten().tolist() == pytest.approx([value for value, _ in expected], rel=1e-9, abs=1e-12)
    assert gradient.flatten().tolist() == pytest.approx([slope for _, slope in expected], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("alpha", [0, 0.25, 0.75])
@pytest.mark.parametrize("soft", [False, True])
def test_gamma_1_beta_0_is_balanced_cross_entropy(alpha, soft):
    logits, target = random_case(1)
    if soft:
        target = torch.rand(30, 4, generator=seeded(1), dtype=torch.float64)
    expected = balanced_cross_entropy_loss(logits, target, alpha)
    torch.testing.assert_close(focal_star_loss(logits, target, 1, 0, alpha), expected)


def test_a_soft_target_mixes_the_hard_ones():
    logits, _ = random_case(2)
    positive, negative = (focal_star_loss(logits, torch.full((30, 4), t), alpha=0.5) for t in (1.0, 0.0))
    soft = focal_star_loss(logits, torch.full((30, 4), 0.3), alpha=0.5)
    torch.testing.assert_close(soft, 0.3 * positive + 0.7 * negative, rtol=1e-6, atol=1e-9)


def test_well_classified_samples_count_less_than_in_cross_entropy():
    logits = torch.linspace(1, 8, 20).view(-1, 1)
    target = torch.ones(20, 1)
    assert (focal_star_loss(logits, target, 2, 1) < balanced_cross_entropy_loss(logits, target, 0.25)).all()


def test_gradcheck():
    logits, labels = random_case(3, samples=5)
    for target in (labels, torch.rand(5, 4).double()):
        assert torch.autograd.gradcheck(functools.partial(focal_star_loss, target=target), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_computed_in_float32(dtype):
    logits, labels = random_case(4)
    half = logits.detach().to(dtype).requires_grad_()
    loss = focal_star_loss(half, labels)
    loss.sum().backward()
    assert loss.dtype == torch.float32 and half.grad.dtype == dtype
    assert torch.equal(loss, focal_star_loss(half.detach().float(), labels))


@pytest.mark.parametrize("magnitude", [1e2, 1e4, 1e30])
def test_extreme_logits_stay_finite(magnitude):
    logits = torch.tensor([[magnitude, -magnitude, 0.0]], requires_grad=True)
    loss = focal_star_loss(logits, torch.tensor([1]), 2, 0, 0.25)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss[0].tolist() == pytest.approx([0.75 * magnitude, 0.25 * magnitude, 0.75 * math.log(2) / 2])
    assert gradient[0].tolist() == pytest.approx([0.75, -0.25, 0.375])


def test_empty_input():
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = focal_star_loss(logits, torch.zeros(0, dtype=torch.long))
    loss.sum().backward()
    assert loss.shape == logits.grad.shape == (0, 3)


LOGITS = torch.zeros(4, 3)
LABELS = torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize(
    ("name", "got", "call"),
    [
        ("gamma", "0", lambda: focal_star_loss(LOGITS, LABELS, gamma=0)),
        ("gamma", "-1", lambda: focal_star_loss(LOGITS, LABELS, gamma=-1)),
        ("gamma", "nan", lambda: focal_star_loss(LOGITS, LABELS, gamma=math.nan)),
        ("beta", "inf", lambda: focal_star_loss(LOGITS, LABELS, beta=math.inf)),
        ("beta", "'1'", lambda: focal_star_loss(LOGITS, LABELS, beta="1")),
        ("alpha", "2", lambda: focal_star_loss(LOGITS, LABELS, alpha=2)),
        ("logits", "int64", lambda: focal_star_loss(LOGITS.long(), LABELS)),
        ("target", "(4, 2)", lambda: focal_star_loss(LOGITS, torch.zeros(4, 2))),
    ],
)
def test_bad_input_is_named(name, got, call):
    with pytest.raises(ValueError, match=name) as error:
        call()
    assert got in str(error.value)
