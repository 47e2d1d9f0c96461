"""Forms of the weights: normalization, power, bounds; against loops, in their limits, where their training stops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ghm_mmdet.functional import ghm_c_loss
from ghm_mmdet.nn import GHMC

pytestmark = pytest.mark.usefixtures("on_device")


def naive(logits, target, valid, bins, max_weight, normalize, avg_factor, power=1.0) -> float:
    """Sum over all elements, one by one."""
    elements = []
    for row, goals, counts in zip(logits.tolist(), target.tolist(), valid.tolist()):
        for x, t in zip(row, goals):
            if counts:
                p = 1 / (1 + torch.tensor(-x).exp().item())
                bce = torch.log1p(torch.tensor(-abs(x)).exp()).item() + max(x, 0) - x * t
                elements.append((min(int(abs(p - t) * bins), bins - 1), t, bce))
    count = [sum(region == j for region, _, _ in elements) for j in range(bins)]
    filled, total = sum(c > 0 for c in count), len(elements)
    beta = [min(total / (count[region] * filled), max_weight) ** power for region, _, _ in elements]
    positives = [b for b, (_, t, _) in zip(beta, elements) if t > 0]
    if normalize == "positives" and positives:
        scale = len(positives) / sum(positives)
    else:
        scale = total / sum(beta)
        if normalize == "positives":
            scale = min(1.0, scale)
    return scale * sum(b * bce for b, (_, _, bce) in zip(beta, elements)) / avg_factor


@pytest.mark.parametrize("backend", ["reference", None])
@pytest.mark.parametrize("normalize", ["positives", "avg_factor"])
@pytest.mark.parametrize(("positive", "power"), [(True, 1.0), (False, 1.0), (True, 0.5)])
def test_normalization_against_a_loop(normalize, positive, power, backend):
    torch.manual_seed(0)
    logits = torch.randn(40, 3) * 2 - 1
    target = torch.zeros(40, 3)
    if positive:
        target[torch.arange(5), torch.arange(5) % 3] = 1
    valid = torch.rand(40) > 0.2
    found = ghm_c_loss(
        logits, target, valid.float(), bins=7, max_weight=3.0, normalize=normalize, avg_factor=5.0, power=power,
        backend=backend,
    )  # fmt: skip
    assert found.item() == pytest.approx(naive(logits, target, valid, 7, 3.0, normalize, 5.0, power), rel=1e-4)


@pytest.mark.parametrize("normalize", ["positives", "avg_factor"])
def test_one_region_is_cross_entropy_over_avg_factor(normalize):
    torch.manual_seed(1)
    logits = torch.randn(50, 4, requires_grad=True)
    labels = torch.randint(0, 5, (50,))
    loss = ghm_c_loss(logits, labels, bins=1, normalize=normalize, avg_factor=7.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    target = F.one_hot(labels, 5)[:, :4].float()
    plain = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / 7
    (expected,) = torch.autograd.grad(plain, logits)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)


def test_power_0_is_cross_entropy():
    torch.manual_seed(2)
    logits, target = torch.randn(30, 2), torch.randint(0, 2, (30, 2)).float()
    found = ghm_c_loss(logits, target, bins=10, power=0.0)
    assert found.item() == pytest.approx(F.binary_cross_entropy_with_logits(logits, target).item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("normalize", ["positives", "avg_factor"])
def test_empty_ignored_and_narrow_input(normalize, dtype):
    options = dict(bins=30, max_weight=10.0, normalize=normalize, avg_factor=1.0)
    for rows in (0, 4):
        logits = torch.full((rows, 3), 2.0, dtype=dtype, requires_grad=True)
        loss = ghm_c_loss(logits, torch.full((rows,), 3), torch.zeros(rows), **options)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.item() == 0 and not gradient.any()
    torch.manual_seed(3)
    logits = torch.randn(20, 3).to(dtype)
    labels = torch.randint(0, 4, (20,))
    wide = ghm_c_loss(logits.float(), labels, **options)
    assert ghm_c_loss(logits, labels, **options).item() == pytest.approx(wide.item(), rel=1e-5)


ETA = (0.1, 0.3, 0.6, 0.9)


def stops_at(loss, crowd: int = 60_000, group: int = 100) -> list[float]:
    """Scores of four groups with a share eta of positives each, all else of a group alike, after training.

    Beside them stands a crowd of easy negatives, as in a detector.
    """
    scores = torch.zeros(len(ETA), requires_grad=True)
    labels = torch.cat([(torch.arange(group) >= round(eta * group)).long() for eta in ETA])
    easy = torch.full((crowd, 1), -8.0)
    labels = torch.cat([labels, torch.ones(crowd, dtype=torch.long)])
    optimizer = torch.optim.Adam([scores], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400, eta_min=1e-3)
    for _ in range(400):
        optimizer.zero_grad()
        logits = torch.cat([scores.repeat_interleave(group).unsqueeze(1), easy])
        loss(logits, labels, avg_factor=float((labels == 0).sum())).backward()
        optimizer.step()
        schedule.step()
    return scores.detach().sigmoid().tolist()


def test_released_weights_stop_near_one_half_whatever_the_share():
    """A contradicted group fills two regions of its own, and both weigh the same."""
    for p in stops_at(GHMC(bins=30, momentum=0.75)):
        assert p == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("normalize", ["positives", "avg_factor"])
def test_bounded_weights_stop_at_the_share(normalize):
    """Where both regions of a group are at the bound, the weight cancels and cross-entropy's minimum is left."""
    loss = GHMC(bins=30, momentum=0.75, max_weight=10.0, normalize=normalize)
    assert stops_at(loss) == pytest.approx(ETA, abs=0.03)


def test_half_the_power_stops_between():
    """logit p = (1 - power) logit eta for a group with regions of its own."""
    for eta, p in zip(ETA, stops_at(GHMC(bins=30, momentum=0.75, power=0.5))):
        assert min(eta, 0.5) - 0.03 <= p <= max(eta, 0.5) + 0.03


def test_average_does_not_move_in_scoring_calls():
    torch.manual_seed(4)
    loss = GHMC(bins=10, momentum=0.75)
    logits, labels = torch.randn(20, 3), torch.randint(0, 4, (20,))
    loss(logits, labels)
    before = loss.acc_sum.clone()
    loss(logits * 3, labels, reduction_override="none")
    with torch.no_grad():
        loss(logits * 3, labels)
    loss.eval()
    loss(logits * 3, labels)
    assert torch.equal(loss.acc_sum, before)
