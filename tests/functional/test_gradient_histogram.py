import math

import oracles
import pytest
import torch
from seeds import seeded

from ghm_mmdet.functional import classification_gradient_norm, regression_gradient_norm
from ghm_mmdet.functional.gradient_histogram import Elements, gradient_histogram

pytestmark = pytest.mark.usefixtures("on_device")


def naive(norms, sizes, valid, bins):
    sums = [[0.0] * bins for _ in range(3)]
    for g, size, v in zip(norms, sizes, valid):
        if v:
            j = oracles.region(g, bins)
            for row, value in zip(sums, (1, g, size)):
                row[j] += value
    return torch.tensor(sums, dtype=torch.float64)


def make(samples=200, classes=3):
    generator = seeded(0)
    logits = torch.randn(samples, classes, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(0, classes, (samples,), generator=generator)
    gradient = torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    valid = torch.rand(samples, 1, generator=generator) > 0.3
    return logits, labels, gradient, valid


@pytest.mark.parametrize("bins", [1, 7, 30])
def test_equals_loops_over_the_elements(bins):
    logits, labels, gradient, valid = make()
    result = gradient_histogram(Elements(logits, labels, valid), gradient, classification_gradient_norm, bins)
    targets = oracles.one_hot(labels.tolist(), 3)
    norms = [abs(oracles.sigmoid(x) - t) for x, t in zip(logits.flatten().tolist(), targets)]
    expected = naive(norms, gradient.abs().flatten().tolist(), valid.expand(-1, 3).flatten().tolist(), bins)
    torch.testing.assert_close(result, expected)


def test_softmax_counts_samples():
    logits, labels, gradient, valid = make()

    def norm(pred, target):
        return classification_gradient_norm(pred, target, use_sigmoid=False)

    result = gradient_histogram(Elements(logits, labels, valid), gradient, norm, 10, per_sample=True)
    norms = [1 - oracles.softmax(row)[label] for row, label in zip(logits.tolist(), labels.tolist())]
    sizes = [sum(map(abs, row)) / 2 for row in gradient.tolist()]
    torch.testing.assert_close(result, naive(norms, sizes, valid.flatten().tolist(), 10))


def test_regression_and_no_weight():
    pred, _, gradient, _ = make(classes=4)
    target = torch.zeros_like(pred)
    result = gradient_histogram(Elements(pred, target, None), gradient, regression_gradient_norm, 10)
    norms = [abs(d) / math.hypot(d, 0.02) for d in pred.flatten().tolist()]
    torch.testing.assert_close(result, naive(norms, gradient.abs().flatten().tolist(), [True] * len(norms), 10))


def test_many_pieces_count_like_one():
    logits, labels, gradient, valid = make(samples=300_000, classes=1)
    result = gradient_histogram(Elements(logits, labels, valid), gradient, classification_gradient_norm, 4)
    norm = (logits.sigmoid() - (labels.unsqueeze(1) == 0).double()).abs()
    for j in range(4):
        inside = valid & (norm >= j / 4) & ((norm < (j + 1) / 4) | (j == 3))
        assert result[0, j] == inside.sum()
        assert result[1, j].item() == pytest.approx(norm[inside].sum().item())
        assert result[2, j].item() == pytest.approx(gradient[inside].abs().sum().item())


def test_what_is_ignored_has_no_effect_even_when_it_is_no_number():
    logits, labels, gradient, valid = make()
    clean = gradient_histogram(Elements(logits, labels, valid), gradient, classification_gradient_norm, 10)
    for value in (logits, gradient):
        value[~valid.squeeze(1)] = torch.nan
    dirty = gradient_histogram(Elements(logits, labels, valid), gradient, classification_gradient_norm, 10)
    assert torch.equal(clean, dirty)
