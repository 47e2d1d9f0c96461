"""threshold_cross_entropy_loss against loops, cross-entropy, and the robust form of GHM-C; its limits."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from ghm_mmdet.functional import ghm_c_loss, threshold_cross_entropy_loss


def by_loops(logits, target, weight, threshold) -> list[list[float]]:
    """The formula, element by element, on Python numbers."""
    norms = [[abs(1 / (1 + math.exp(-x)) - t) for x, t in zip(*rows)] for rows in zip(logits, target)]
    positives = left = 0
    for norms_of_row, targets, weights in zip(norms, target, weight):
        for norm, t, w in zip(norms_of_row, targets, weights):
            positives += t > 0 and w > 0
            left += t > 0 and w > 0 and norm >= threshold
    factor = positives / max(left, 1) if positives else 1

    def loss(norm, x, t, w):
        return factor * w * (math.log1p(math.exp(-x)) * t + math.log1p(math.exp(x)) * (1 - t)) * (norm >= threshold)

    return [[loss(*element) for element in zip(*rows)] for rows in zip(norms, logits, target, weight)]


@pytest.mark.parametrize("threshold", [0, 1 / 30, 0.4, 1])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_against_loops(threshold, soft, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(40, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 8, (40,), generator=generator)
    dense = F.one_hot(labels, 8)[:, :3].double()
    if soft:
        labels = dense = dense * torch.rand(40, 3, generator=generator, dtype=torch.float64)
    weight = (torch.rand(40, 3, generator=generator) > 0.3) * 0.5
    found = threshold_cross_entropy_loss(logits, labels, weight, threshold)
    expected = by_loops(logits.tolist(), dense.tolist(), weight.tolist(), threshold)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    unweighted = by_loops(logits.tolist(), dense.tolist(), torch.ones(40, 3).tolist(), threshold)
    torch.testing.assert_close(
        threshold_cross_entropy_loss(logits, labels, threshold=threshold), torch.tensor(unweighted, dtype=torch.float64)
    )


def test_without_a_threshold_it_is_cross_entropy(device):
    logits, labels = torch.randn(30, 4, device=device), torch.randint(0, 5, (30,), device=device)
    plain = F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, 5)[:, :4].float(), reduction="none")
    torch.testing.assert_close(threshold_cross_entropy_loss(logits, labels, threshold=0), plain)


def test_gradient():
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(12, 2, generator=generator, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(0, 4, (12,), generator=generator)
    assert gradcheck(partial(threshold_cross_entropy_loss, target=labels, threshold=0.1), logits)


def test_it_is_the_robust_form_where_the_crowd_alone_is_dense():
    """Two regions: a crowd that is left out here and weighs 1 / 100 there, and elements far beyond the bound."""
    crowd, few = torch.full((100_000, 1), -6.0), torch.tensor([[-1.0], [0.5], [-0.5], [2.0]])
    logits = torch.cat([few, crowd]).requires_grad_()
    labels = torch.tensor([0, 0, 1, 1] + [1] * len(crowd))
    gradients = []
    for loss in (
        threshold_cross_entropy_loss(logits, labels),
        ghm_c_loss(logits, labels, max_weight=10.0, normalize="positives", reduction="none"),
    ):
        gradients.append(torch.autograd.grad(loss.sum(), logits)[0])
    ours, robust = (gradient / gradient[:4].abs().sum() for gradient in gradients)
    torch.testing.assert_close(ours[:4], robust[:4])
    assert ours[4:].abs().sum() == 0 < robust[4:].abs().sum()


def test_no_positive_none_left_and_nothing_at_all(device):
    logits = torch.tensor([[-5.0], [0.0], [5.0]], device=device)
    nothing = torch.ones(3, dtype=torch.long, device=device)
    found = threshold_cross_entropy_loss(logits, nothing)
    torch.testing.assert_close(found, F.softplus(logits) * torch.tensor([[0.0], [1.0], [1.0]], device=device))
    # The one positive is right already: the factor is as if one were left.
    one = torch.tensor([1, 1, 0], device=device)
    found = threshold_cross_entropy_loss(logits, one)
    torch.testing.assert_close(found, F.softplus(logits) * torch.tensor([[0.0], [1.0], [0.0]], device=device))
    ignored = threshold_cross_entropy_loss(logits, one, torch.zeros(3, device=device))
    assert ignored.shape == (3, 1) and not ignored.any()
    empty = torch.zeros(0, 4, device=device, requires_grad=True)
    found = threshold_cross_entropy_loss(empty, torch.zeros(0, dtype=torch.long, device=device))
    found.sum().backward()
    assert found.shape == empty.grad.shape == (0, 4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_ignored_element_may_hold_anything(value):
    logits = torch.tensor([[1.0], [value]], requires_grad=True)
    loss = threshold_cross_entropy_loss(logits, torch.tensor([1, 0]), torch.tensor([1.0, 0.0]))
    loss.sum().backward()
    assert loss.isfinite().all() and logits.grad.isfinite().all()


def test_nan_that_counts_shows():
    assert threshold_cross_entropy_loss(torch.tensor([[math.nan]]), torch.tensor([1])).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype, device):
    logits = torch.tensor([[-9.0], [-3.0], [0.25], [4.0]], dtype=dtype, device=device)
    labels = torch.tensor([1, 1, 0, 1], device=device)
    found = threshold_cross_entropy_loss(logits, labels)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, threshold_cross_entropy_loss(logits.float(), labels))


def test_bad_arguments():
    logits, labels = torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)
    for threshold in (-0.1, 1.1, math.nan, True, "0.5"):
        with pytest.raises(ValueError, match="threshold"):
            threshold_cross_entropy_loss(logits, labels, threshold=threshold)
    with pytest.raises(ValueError, match="shape"):
        threshold_cross_entropy_loss(logits, torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize("crowd", [0, 10, 5_000])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.6, 0.9, 0.99])
def test_where_training_stops_for_a_contradicted_group(share, crowd):
    """At the share of positives, whatever the crowd beside the group; nearer to 0 and 1 the threshold holds it."""
    target = torch.zeros(crowd + 100, 1)
    target[: round(100 * share)] = 1
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        score = torch.tensor(middle, dtype=torch.float64).logit().requires_grad_()
        logits = torch.cat([score.expand(100), torch.full((crowd,), -8.0, dtype=torch.float64)]).unsqueeze(1)
        threshold_cross_entropy_loss(logits, target).sum().backward()
        low, high = (low, middle) if score.grad > 0 else (middle, high)
    assert low == pytest.approx(min(max(share, 1 / 30), 29 / 30), abs=1e-6)
