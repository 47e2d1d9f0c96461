import math

import oracles
import pytest
import torch
from seeds import seeded

from ghm_mmdet.functional.soft_focal import soft_focal_loss

pytestmark = pytest.mark.usefixtures("on_device")


def random_case(seed=0, samples=30, classes=4):
    generator = seeded(seed)
    logits = torch.randn(samples, classes, generator=generator, dtype=torch.float64) * 3
    return logits.requires_grad_(), torch.rand(samples, classes, generator=generator, dtype=torch.float64)


def naive(x, t, gamma, alpha):
    p = oracles.sigmoid(x)
    return -alpha * t * (1 - p) ** gamma * math.log(p) - (1 - alpha) * (1 - t) * p**gamma * math.log(1 - p)


@pytest.mark.parametrize(("gamma", "alpha"), [(2, 0.5), (0, 0.5), (1.5, 0.25)])
def test_equals_oracle(gamma, alpha):
    logits, target = random_case()
    expected = [naive(x, t, gamma, alpha) for x, t in zip(logits.flatten().tolist(), target.flatten().tolist())]
    assert soft_focal_loss(logits, target, gamma, alpha).flatten().tolist() == pytest.approx(expected, rel=1e-9)


def test_gradcheck():
    logits, target = random_case(2, samples=5)
    assert torch.autograd.gradcheck(lambda x: soft_focal_loss(x, target), logits)


@pytest.mark.parametrize("magnitude", [1e2, 1e4, 1e30])
def test_extreme_logits_stay_finite(magnitude):
    logits = torch.tensor([[magnitude, -magnitude]], requires_grad=True)
    loss = soft_focal_loss(logits, torch.tensor([[0.25, 0.25]]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss[0].tolist() == pytest.approx([0.375 * magnitude, 0.125 * magnitude])
    assert gradient[0].tolist() == pytest.approx([0.375, -0.125])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("gamma must be a finite number of at least 0, got -1", lambda x: soft_focal_loss(x, x.sigmoid(), gamma=-1)),
        ("alpha must be a number in .* got 2", lambda x: soft_focal_loss(x, x.sigmoid(), alpha=2)),
        ("target must hold", lambda x: soft_focal_loss(x, torch.zeros(3))),
    ],
)
def test_bad_input_is_named(name, call):
    with pytest.raises(ValueError, match=name):
        call(torch.zeros(4, 3))
