import math

import oracles
import pytest
import torch
from seeds import seeded

from ghm_mmdet.functional.dr import dr_loss

pytestmark = pytest.mark.usefixtures("on_device")


def random_case(seed=0, samples=30, classes=4, scale=2):
    generator = seeded(seed)
    logits = torch.randn(samples, classes, generator=generator, dtype=torch.float64) * scale
    return logits.requires_grad_(), torch.randint(0, classes + 1, (samples,), generator=generator)


def expectation(scores, scale):
    q = [math.exp(p / scale) for p in scores]
    return sum(a * p for a, p in zip(q, scores)) / sum(q)


def naive(logits, labels, valid, margin=0.5, pos_lambda=1.0, neg_lambda=0.0798235600, slope=6.0, tau=4.0):
    rows = [(row, label) for row, label, v in zip(logits, labels, valid) if v]
    scores = [(oracles.sigmoid(x), c == label) for row, label in rows for c, x in enumerate(row)]
    positives, negatives = ([p for p, is_positive in scores if is_positive == wanted] for wanted in (True, False))
    if not scores:
        return 0.0
    high = expectation(positives, -pos_lambda) if positives else 1.0
    low = expectation(negatives, neg_lambda) if negatives else 0.0
    return tau / slope * math.log(1 + math.exp(slope * (low - high + margin)))


@pytest.mark.parametrize("options", [{}, dict(margin=0.2, pos_lambda=0.5, neg_lambda=0.3, slope=2.0, tau=1.0)])
@pytest.mark.parametrize("ignored", [0, 12, 30])
def test_equals_oracle(options, ignored):
    logits, labels = random_case()
    weight = (torch.arange(30) >= ignored).double()
    expected = naive(logits.tolist(), labels.tolist(), weight.tolist(), **options)
    for form in (weight, weight[:, None], 0.3 * weight):
        assert dr_loss(logits, labels, form, **options).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("label", [4, 0])
def test_without_positives_or_negatives(label):
    """Background alone; one class and objects alone."""
    logits, _ = random_case(1, classes=4 if label else 1)
    labels = torch.full((30,), label)
    loss = dr_loss(logits, labels)
    assert loss.item() == pytest.approx(naive(logits.tolist(), labels.tolist(), [1] * 30), rel=1e-9)
    assert torch.isfinite(torch.autograd.grad(loss, logits)[0]).all()


def test_gradcheck():
    logits, labels = random_case(2, samples=5)
    assert torch.autograd.gradcheck(lambda x: dr_loss(x, labels), logits)


def test_small_lambdas_pick_the_hardest():
    logits, labels = random_case(3)
    loss = dr_loss(logits.float(), labels, pos_lambda=1e-5, neg_lambda=1e-5)
    p = logits.sigmoid()
    positive = labels.unsqueeze(1) == torch.arange(4)
    hardest = p[~positive].max() - p[positive].min() + 0.5
    assert loss.item() == pytest.approx(4 / 6 * math.log(1 + math.exp(6 * hardest.item())), rel=1e-4)


def test_edges():
    logits, labels = random_case(4)
    for empty in (dr_loss(logits[:0], labels[:0]), dr_loss(logits, labels, torch.zeros(30))):
        (gradient,) = torch.autograd.grad(empty, logits)
        assert empty.item() == 0 and not gradient.any()
    broken = logits.detach().clone()
    broken[0], broken[1] = math.nan, math.inf
    weight = (torch.arange(30) > 1).float()
    broken.requires_grad_()
    loss = dr_loss(broken, labels, weight)
    (gradient,) = torch.autograd.grad(loss, broken)
    assert loss.item() == dr_loss(logits, labels, weight).item()
    assert torch.isfinite(gradient).all() and not gradient[:2].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_computed_in_float32(dtype):
    logits, labels = random_case(5)
    half = logits.detach().to(dtype)
    loss = dr_loss(half, labels)
    assert loss.dtype == torch.float32 and loss.item() == dr_loss(half.float(), labels).item()


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("margin must be a finite", lambda x, t: dr_loss(x, t, margin=math.inf)),
        ("neg_lambda must be a finite number above 0, got 0", lambda x, t: dr_loss(x, t, neg_lambda=0)),
        ("tau must be", lambda x, t: dr_loss(x, t, tau=-1)),
        (r"integer labels of shape \(N,\), got \(4, 3\) float32 and \(4, 3\) float32", lambda x, t: dr_loss(x, x)),
        ("target must hold integer labels", lambda x, t: dr_loss(x, t[:2])),
        ("weight must be", lambda x, t: dr_loss(x, t, x)),
    ],
)
def test_bad_input_is_named(message, call):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))
