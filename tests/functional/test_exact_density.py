import math

import oracles
import pytest
import torch
from seeds import seeded

from ghm_mmdet.functional import exact_gradient_density, ghm_c_loss, ghm_r_loss

pytestmark = pytest.mark.usefixtures("on_device")


@pytest.mark.parametrize("eps", [1.0, 1 / 10, 1 / 30, 1e-4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_definition(eps, dtype):
    generator = seeded(0)
    norms = torch.rand(3000, generator=generator, dtype=dtype) ** 3
    norms[:20], norms[20:40] = 0, 1
    density = exact_gradient_density(norms, eps)
    # The definition in the same precision, by comparing every pair.
    low, high = norms - eps / 2, norms + eps / 2
    count = ((norms[None, :] >= low[:, None]) & (norms[None, :] < high[:, None])).sum(1)
    expected = count / (high.clamp(max=1) - low.clamp(min=0))
    torch.testing.assert_close(density, expected, rtol=1e-6, atol=0)


def test_equals_the_oracle():
    norms = torch.rand(200, generator=seeded(1), dtype=torch.float64)
    assert exact_gradient_density(norms, 0.1).tolist() == pytest.approx(oracles.exact_density(norms.tolist(), 0.1))


def test_one_window_over_everything_counts_everything():
    norms = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    assert exact_gradient_density(norms, 1.0).tolist() == [[4.0, 4.0], [4.0, 4.0]]


def test_elements_that_do_not_count_change_nothing():
    generator = seeded(2)
    norms = torch.rand(100, generator=generator)
    valid = torch.rand(100, generator=generator) > 0.3
    density = exact_gradient_density(norms, 0.1, valid)
    assert torch.equal(density[valid], exact_gradient_density(norms[valid], 0.1))


@pytest.mark.parametrize("max_weight", [None, 1.5])
def test_ghm_c_with_the_exact_density(max_weight):
    generator = seeded(3)
    logits = (torch.randn(60, 3, generator=generator, dtype=torch.float64) * 3).requires_grad_()
    labels = torch.randint(0, 6, (60,), generator=generator).clamp(max=3)
    mask = (torch.rand(60, generator=generator) > 0.2).double()
    loss = ghm_c_loss(logits, labels, mask, 20, density="exact", max_weight=max_weight)
    (gradient,) = torch.autograd.grad(loss, logits)

    flat = logits.flatten().tolist()
    targets, valid = oracles.one_hot(labels.tolist(), 3), mask.repeat_interleave(3).tolist()
    counted = [i for i, v in enumerate(valid) if v]
    density = oracles.exact_density([abs(oracles.sigmoid(flat[i]) - targets[i]) for i in counted], 1 / 20)
    expected, expected_gradient = 0.0, [0.0] * len(flat)
    for i, gd in zip(counted, density):
        beta = min(len(counted) / gd, max_weight or math.inf)
        expected += beta * oracles.bce(flat[i], targets[i]) / len(counted)
        expected_gradient[i] = beta * (oracles.sigmoid(flat[i]) - targets[i]) / len(counted)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    assert gradient.flatten().tolist() == pytest.approx(expected_gradient, rel=1e-9, abs=1e-12)


def test_ghm_r_with_the_exact_density():
    generator = seeded(4)
    pred = (torch.randn(30, 4, generator=generator, dtype=torch.float64) * 0.05).requires_grad_()
    loss = ghm_r_loss(pred, torch.zeros_like(pred), density="exact", reduction="none")
    differences = pred.flatten().tolist()
    density = oracles.exact_density([abs(d) / math.hypot(d, 0.02) for d in differences], 1 / 10)
    expected = [120 / gd * (math.hypot(d, 0.02) - 0.02) for gd, d in zip(density, differences)]
    assert loss.flatten().tolist() == pytest.approx(expected, rel=1e-9)


def test_empty_and_ignored_input_give_zero():
    empty = torch.zeros(0, 3, requires_grad=True)
    ghm_c_loss(empty, torch.zeros(0, dtype=torch.long), density="exact").backward()
    assert empty.grad.shape == (0, 3)
    logits = torch.randn(4, 3, requires_grad=True)
    loss = ghm_c_loss(logits, torch.zeros(4, dtype=torch.long), torch.zeros(4), density="exact")
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


@pytest.mark.parametrize(
    ("match", "call"),
    [
        ("eps.*got 0", lambda g: exact_gradient_density(g, 0)),
        ("eps.*got 1.5", lambda g: exact_gradient_density(g, 1.5)),
        ("valid.*float32", lambda g: exact_gradient_density(g, 0.1, torch.ones(3))),
        ("momentum.*got 0.5", lambda g: ghm_c_loss(g, g, momentum=0.5, density="exact")),
        ("sync.*got True", lambda g: ghm_c_loss(g, g, sync=True, density="exact")),
        ("density.*got 'fuzzy'", lambda g: ghm_c_loss(g, g, density="fuzzy")),
    ],
)
def test_bad_input_is_named(match, call):
    with pytest.raises(ValueError, match=match):
        call(torch.zeros(3))
