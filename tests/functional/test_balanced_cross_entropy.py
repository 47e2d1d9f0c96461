import functools
import math

import oracles
import pytest
import torch
import torch.nn.functional as F
from seeds import seeded

from ghm_mmdet.functional import balanced_cross_entropy_loss

pytestmark = pytest.mark.usefixtures("on_device")


def random_case(seed=0, samples=30, classes=4):
    generator = seeded(seed)
    logits = torch.randn(samples, classes, generator=generator, dtype=torch.float64) * 3
    return logits.requires_grad_(), torch.randint(0, classes + 1, (samples,), generator=generator)


@pytest.mark.parametrize("alpha", [0, 0.25, 0.75, 1])
@pytest.mark.parametrize("form", ["labels", "one-hot", "soft"])
def test_equals_oracle(alpha, form):
    logits, labels = random_case()
    flat = oracles.one_hot(labels.tolist(), 4)
    if form == "soft":
        flat = [0.1 + 0.7 * t for t in flat]
    target = labels if form == "labels" else torch.tensor(flat, dtype=torch.float64).view(30, 4)
    expected = [oracles.balanced_cross_entropy(x, t, alpha) for x, t in zip(logits.flatten().tolist(), flat)]
    loss = balanced_cross_entropy_loss(logits, target, alpha)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.flatten().tolist() == pytest.approx([value for value, _ in expected], rel=1e-9, abs=1e-12)
    assert gradient.flatten().tolist() == pytest.approx([slope for _, slope in expected], rel=1e-9, abs=1e-12)


def test_half_alpha_is_half_of_cross_entropy():
    logits, labels = random_case(1)
    target = F.one_hot(labels, 5)[:, :4].double()
    plain = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    torch.testing.assert_close(balanced_cross_entropy_loss(logits, labels, 0.5), plain / 2)


def test_gradcheck():
    logits, labels = random_case(2, samples=5)
    assert torch.autograd.gradcheck(functools.partial(balanced_cross_entropy_loss, target=labels), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_computed_in_float32(dtype):
    logits, labels = random_case(3)
    half = logits.detach().to(dtype).requires_grad_()
    loss = balanced_cross_entropy_loss(half, labels)
    loss.sum().backward()
    assert loss.dtype == torch.float32 and half.grad.dtype == dtype
    assert torch.equal(loss, balanced_cross_entropy_loss(half.detach().float(), labels))


@pytest.mark.parametrize("magnitude", [1e2, 1e4, 1e30])
def test_extreme_logits_stay_finite(magnitude):
    logits = torch.tensor([[magnitude, -magnitude, 0.0]], requires_grad=True)
    loss = balanced_cross_entropy_loss(logits, torch.tensor([1]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss[0].tolist() == pytest.approx([0.25 * magnitude, 0.75 * magnitude, 0.25 * math.log(2)])
    assert gradient[0].tolist() == pytest.approx([0.25, -0.75, 0.125])


def test_empty_input():
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = balanced_cross_entropy_loss(logits, torch.zeros(0, dtype=torch.long))
    loss.sum().backward()
    assert loss.shape == logits.grad.shape == (0, 3)


def test_a_label_outside_the_classes_is_background():
    logits, labels = random_case(4)
    expected = balanced_cross_entropy_loss(logits, labels)
    for background in (-1, 99):
        assert torch.equal(balanced_cross_entropy_loss(logits, torch.where(labels == 4, background, labels)), expected)


LOGITS = torch.zeros(4, 3)
LABELS = torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize(
    ("name", "got", "call"),
    [
        ("alpha", "1.5", lambda: balanced_cross_entropy_loss(LOGITS, LABELS, 1.5)),
        ("alpha", "-0.1", lambda: balanced_cross_entropy_loss(LOGITS, LABELS, -0.1)),
        ("alpha", "nan", lambda: balanced_cross_entropy_loss(LOGITS, LABELS, math.nan)),
        ("alpha", "None", lambda: balanced_cross_entropy_loss(LOGITS, LABELS, None)),
        ("logits", "int64", lambda: balanced_cross_entropy_loss(LOGITS.long(), LABELS)),
        ("target", "(5,)", lambda: balanced_cross_entropy_loss(LOGITS, torch.zeros(5, dtype=torch.long))),
        ("target", "float32", lambda: balanced_cross_entropy_loss(LOGITS, torch.zeros(4))),
        ("target", "(4, 2)", lambda: balanced_cross_entropy_loss(LOGITS, torch.zeros(4, 2))),
    ],
)
def test_bad_input_is_named(name, got, call):
    with pytest.raises(ValueError, match=name) as error:
        call()
    assert got in str(error.value)
