"""The modules' own forms against loops: shares, automatic mu, weights that scale, probabilities, labels with scores."""

from __future__ import annotations

import copy

import oracles
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from ghm_mmdet.nn import GHMC, GHMR

pytestmark = pytest.mark.usefixtures("on_device")
ROBUST = dict(normalize="positives", max_weight=10.0)


def classification(samples, classes=3, seed=0):
    torch.manual_seed(seed)
    logits = (torch.randn(samples, classes, dtype=torch.float64) * 2 - 1).requires_grad_()
    labels = torch.randint(0, classes + 3, (samples,))
    valid = (torch.rand(samples) > 0.2).double()
    return logits, labels, valid


def flat(logits, labels, valid):
    """The lists that the oracles take."""
    classes = logits.shape[1]
    return (
        logits.flatten().tolist(),
        oracles.one_hot(labels.tolist(), classes),
        valid.repeat_interleave(classes).tolist(),
    )


@pytest.mark.parametrize("debias", [False, True])
def test_average_of_shares_over_calls_of_different_size(debias):
    loss = GHMC(bins=10, momentum=0.75, average="shares", debias=debias)
    average = oracles.MovingAverage(10, 0.75, debias, shares=True)
    for call, samples in enumerate((200, 30, 6, 0, 200)):
        logits, labels, valid = classification(samples, seed=call)
        value = loss(logits, labels, valid)
        (gradient,) = torch.autograd.grad(value, logits)
        expected = oracles.ghm_c(*flat(logits, labels, valid), 10, average)
        # The buffer is in float32.
        assert value.item() == pytest.approx(expected.loss, rel=1e-6)
        assert gradient.flatten().tolist() == pytest.approx(expected.gradient, rel=1e-6)
        assert loss.acc_share.tolist() == pytest.approx(average.sums, rel=1e-6)


def test_with_shares_each_level_has_the_weights_of_its_own_density():
    """Levels of one distribution and different size; an average of counts would weigh the small ones by the large."""
    logits, labels, _ = classification(40)
    levels = [(logits.repeat(times, 1), labels.repeat(times)) for times in (16, 4, 1)]
    own = GHMC(bins=10, momentum=0.0)(logits, labels).item()
    shares, counts = (GHMC(bins=10, momentum=0.9, average=name, debias=True) for name in ("shares", "counts"))
    for _ in range(3):
        assert [shares(*level).item() for level in levels] == pytest.approx([own] * 3, rel=1e-5)
        last = [counts(*level).item() for level in levels]
    assert last[2] < 0.3 * own


@pytest.mark.parametrize("backend", [None, "reference"])
def test_robust_form_over_calls(backend):
    loss = GHMC(bins=10, momentum=0.75, backend=backend, **ROBUST)
    average = oracles.MovingAverage(10, 0.75)
    for call, samples in enumerate((90, 5, 40)):
        logits, labels, valid = classification(samples, seed=call)
        if call == 2:
            labels.fill_(3)  # No positive.
        value = loss(logits, labels, valid, avg_factor=7.0)
        (gradient,) = torch.autograd.grad(value, logits)
        x, t, v = flat(logits, labels, valid)
        norms = [abs(oracles.sigmoid(a) - b) for a, b in zip(x, t)]
        weights = oracles.region_weights(norms, v, sum(v), 10, average, 10.0)
        weights = oracles.normalized(weights, v, t, "positives")
        expected = sum(w * oracles.bce(a, b) for w, a, b in zip(weights, x, t)) / 7
        assert value.item() == pytest.approx(expected, rel=1e-6)
        slopes = [w * (oracles.sigmoid(a) - b) / 7 for w, a, b in zip(weights, x, t)]
        assert gradient.flatten().tolist() == pytest.approx(slopes, rel=1e-5, abs=1e-12)


def test_robust_form_in_narrow_dtypes_empty_and_ignored(dtype):
    loss = GHMC(**ROBUST).to(dtype)
    for samples, positive, counts in [(0, True, True), (9, True, False), (9, False, True), (9, True, True)]:
        logits, labels, valid = classification(samples)
        labels = labels if positive else torch.full_like(labels, 3)
        valid = valid if counts else torch.zeros_like(valid)
        leaf = logits.detach().to(dtype).requires_grad_()
        value = loss(leaf, labels, valid.to(dtype), avg_factor=max(1.0, (labels < 3).sum().item()))
        value.backward()
        assert value.dtype == torch.promote_types(dtype, torch.float32) and leaf.grad.dtype == dtype
        assert value.isfinite() and leaf.grad.isfinite().all()
        assert bool(value > 0) == bool(leaf.grad.any()) == (samples > 0 and counts)
        assert loss.acc_sum.dtype == torch.float32 and bool(loss.acc_sum.any()) == (counts and samples > 0)


@pytest.mark.parametrize("build", [
    lambda: GHMC(**ROBUST),
    lambda: GHMC(average="shares", debias=True, anneal_calls=5),
    lambda: GHMR(mu="auto", normalize="avg_factor"),
])  # fmt: skip
def test_a_resumed_training_is_the_same_to_the_last_bit(build):
    def train(loss, pred, calls):
        for call in calls:
            inputs, labels, valid = classification(20 + call, seed=call)
            target = torch.randn(20 + call, 3).double() if isinstance(loss, GHMR) else labels
            value = loss(inputs * pred, target, valid if isinstance(loss, GHMC) else valid[:, None])
            (gradient,) = torch.autograd.grad(value, pred)
            pred = (pred - 0.1 * gradient).detach().requires_grad_()
        return pred

    start = torch.ones((), dtype=torch.float64, requires_grad=True)
    whole, half, rest = build(), build(), build()
    expected = train(whole, start, range(6))
    middle = train(half, start, range(3))
    rest.load_state_dict(half.state_dict())
    assert torch.equal(train(rest, middle, range(3, 6)), expected)
    assert all(
        torch.equal(found, value) for found, value in zip(rest.state_dict().values(), whole.state_dict().values())
    )


def boxes(samples, scale=1.0, seed=0):
    torch.manual_seed(seed)
    pred = (torch.randn(samples, 4, dtype=torch.float64) * scale).requires_grad_()
    return pred, torch.randn(samples, 4, dtype=torch.float64) * scale, (torch.rand(samples, 4) > 0.3).double()


def test_automatic_mu_follows_the_mean_difference():
    loss = GHMR(mu="auto", mu_factor=0.5, bins=10, momentum=0.7)
    average, mean = oracles.MovingAverage(10, 0.7), 0.0
    for call, (samples, scale) in enumerate([(0, 1.0), (30, 1.0), (20, 50.0), (4, 1e-3), (5, 0.0)]):
        pred, target, weight = boxes(samples, scale, call)
        if call == 3:
            weight.zero_()
        value = loss(pred, target, weight)
        (gradient,) = torch.autograd.grad(value, pred)
        x, t, w = (tensor.flatten().tolist() for tensor in (pred, target, weight))
        sizes = [abs(a - b) for a, b, c in zip(x, t, w) if c > 0]
        now = sum(sizes) / len(sizes) if sizes else 0.0
        if now > 0:
            mean = 0.99 * mean + 0.01 * now if mean > 0 else now
        assert loss.mean_difference.item() == pytest.approx(mean, rel=1e-6)
        expected = oracles.ghm_r(x, t, w, 0.5 * max(mean, 1e-6), 10, average)
        assert value.item() == pytest.approx(expected.loss, rel=1e-5, abs=1e-9)
        assert gradient.flatten().tolist() == pytest.approx(expected.gradient, rel=1e-5, abs=1e-9)


def test_automatic_mu_knows_no_unit():
    metres, pixels = GHMR(mu="auto"), GHMR(mu="auto")
    for call in range(3):
        pred, target, weight = boxes(25, seed=call)
        small, large = metres(pred, target, weight), pixels(pred * 1024, target * 1024, weight)
        assert large.item() == pytest.approx(1024 * small.item(), rel=1e-6)
    assert torch.equal(metres.acc_sum, pixels.acc_sum)


def test_calls_that_are_not_trained_on_leave_the_state():
    """Their values are those of a trained call all the same."""
    pred, target, weight = boxes(25)
    for build in (lambda: GHMR(mu="auto"), lambda: GHMR(average="shares", debias=True, anneal_calls=3)):
        loss = build()
        loss(pred * 3, target, weight)
        before, scored = copy.deepcopy(loss.state_dict()), loss(pred, target, weight, reduction_override="none")
        with torch.no_grad():
            loss(pred, target, weight)
        asleep = loss.eval()(pred, target, weight)
        assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())
        trained = loss.train()(pred, target, weight)
        assert asleep.item() == trained.item()
        assert scored.sum().item() == pytest.approx(trained.item() * weight.sum().item(), rel=1e-6)


@pytest.mark.parametrize("reentrant", [True, False])
def test_under_gradient_checkpointing_the_value_stays_and_without_reentry_the_average_moves_twice(reentrant):
    logits, labels, valid = classification(30)
    plain, checkpointed = GHMC(bins=10, momentum=0.75), GHMC(bins=10, momentum=0.75)
    expected = plain(logits, labels, valid)
    value = checkpoint(checkpointed, logits, labels, valid, use_reentrant=reentrant)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    value.backward()
    if not reentrant:
        plain(logits, labels, valid)
    assert torch.equal(checkpointed.acc_sum, plain.acc_sum)


@pytest.mark.parametrize("per_element", [False, True])
@pytest.mark.parametrize("density", ["region", "exact"])
def test_scale_by_weight_multiplies_each_loss(per_element, density):
    logits, labels, _ = classification(30)
    weight = torch.rand(30, 3 if per_element else 1, dtype=torch.float64) * 3 - 0.5
    options = dict(bins=10, momentum=0.0, density=density)
    inputs = (logits, labels, weight if per_element else weight[:, 0])
    size = weight.clamp(min=0).expand(30, 3)
    each = GHMC(**options)(*inputs, reduction_override="none") * size
    scaled = GHMC(scale_by_weight=True, **options)
    torch.testing.assert_close(scaled(*inputs, reduction_override="none"), each)
    total = (size > 0).sum()
    value = scaled(*inputs)
    torch.testing.assert_close(value, each.sum() / total)
    # The harmonizing weights are constants.
    (found,), (expected,) = torch.autograd.grad(value, logits), torch.autograd.grad(each.sum() / total, logits)
    torch.testing.assert_close(found, expected)

    pred, target, _ = boxes(30)
    weight = torch.rand(30, 4 if per_element else 1, dtype=torch.float64) * 3 - 0.5
    size = weight.clamp(min=0).expand(30, 4)
    each = GHMR(**options)(pred, target, weight, reduction_override="none") * size
    found = GHMR(scale_by_weight=True, **options)(pred, target, weight)
    torch.testing.assert_close(found, each.sum() / weight.expand(30, 4).sum().clamp(min=1))


def test_probabilities_give_the_loss_of_their_logits():
    logits, labels, valid = classification(30)
    probability = logits.detach().sigmoid().requires_grad_()
    found, expected = GHMC(activated=True)(probability, labels, valid), GHMC()(logits, labels, valid)
    torch.testing.assert_close(found, expected)
    (gradient,), (of_logits,) = torch.autograd.grad(found, probability), torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient * probability * (1 - probability), of_logits)
    certain = torch.tensor([[0.0, 1.0], [torch.nan, torch.inf]], requires_grad=True)
    loss = GHMC(activated=True)(certain, torch.tensor([0, 1]), torch.tensor([1.0, 0.0]))
    (gradient,) = torch.autograd.grad(loss, certain)
    assert loss.isfinite() and gradient.isfinite().all()
    with pytest.raises(ValueError, match="activated=True is for sigmoids"):
        GHMC(activated=True, use_sigmoid=False)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_labels_with_scores_are_soft_targets(reduction):
    logits, labels, valid = classification(30)
    scores = torch.rand(30, dtype=torch.float64)
    dense = torch.tensor(oracles.one_hot(labels.tolist(), 3), dtype=torch.float64).view(30, 3) * scores[:, None]
    scores[labels >= 3] = torch.nan  # Of the background a score may be anything.
    results = []
    for target in ((labels, scores), dense):
        value = GHMC(reduction=reduction)(logits, target, valid)
        results.append((value, torch.autograd.grad(value.sum(), logits)))
    torch.testing.assert_close(*results)
    with pytest.raises(ValueError, match=r"a target of two parts must be \(labels, scores\)"):
        GHMC()(logits, (labels, scores[:5]))
