import functools
import math

import oracles
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from seeds import seeded

from ghm_mmdet.functional import ohem_loss

pytestmark = pytest.mark.usefixtures("on_device")


def random_case(samples, classes, seed, positives=0.2):
    generator = seeded(seed)
    logits = torch.randn(samples, classes, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(0, classes, (samples,), generator=generator)
    labels[torch.rand(samples, generator=generator) > positives] = classes
    weight = (torch.rand(samples, generator=generator) > 0.2).double()
    return logits.requires_grad_(), labels, weight


def one_hot(labels, classes):
    flat = oracles.one_hot(labels.tolist(), classes)
    return torch.tensor(flat, dtype=torch.float64).view(len(labels), classes)


def assert_equals_oracle(loss, logits, target, weight, ratio, images=1):
    weight = weight.expand(logits.shape) if weight.dim() == 2 else weight[:, None].expand(logits.shape)
    expected = oracles.ohem(logits.tolist(), target.tolist(), weight.tolist(), ratio, images)
    assert loss.tolist() == [pytest.approx(row, rel=1e-9, abs=1e-12) for row in expected]
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    slope = (weight * (logits.sigmoid() - target) * (torch.tensor(expected).view(logits.shape) != 0)).detach()
    torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize("ratio", [0, 0.5, 1, 3, math.inf])
@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("form", ["labels", "one-hot", "soft"])
@pytest.mark.parametrize("weighted", [None, "sample", "element"])
def test_equals_oracle(ratio, images, form, weighted):
    logits, labels, weight = random_case(60, 3, seed=0)
    dense = one_hot(labels, 3) * (0.7 if form == "soft" else 1)
    if weighted == "element":
        weight = weight[:, None] * torch.rand(60, 3, generator=seeded(1)).round(decimals=1)
    loss = ohem_loss(
        logits, labels if form == "labels" else dense, weight if weighted else None, ratio, num_images=images
    )
    assert_equals_oracle(loss, logits, dense, weight if weighted else torch.ones(60), ratio, images)


@settings(max_examples=100, deadline=None)
@given(
    samples=st.integers(0, 20),
    images=st.integers(1, 4),
    classes=st.integers(1, 4),
    seed=st.integers(0, 2**31),
    positives=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    ratio=st.floats(0, 20),
)
def test_any_shape_equals_oracle(samples, images, classes, seed, positives, ratio):
    logits, labels, weight = random_case(samples * images, classes, seed, positives)
    loss = ohem_loss(logits, labels, weight, ratio, num_images=images)
    assert_equals_oracle(loss, logits, one_hot(labels, classes), weight, ratio, images)


def test_unlimited_ratio_is_plain_cross_entropy():
    logits, labels, _ = random_case(50, 4, seed=2)
    plain = F.binary_cross_entropy_with_logits(logits, one_hot(labels, 4), reduction="none")
    assert torch.equal(ohem_loss(logits, labels, neg_pos_ratio=math.inf), plain)
    assert torch.equal(ohem_loss(logits, labels, neg_pos_ratio=50), plain)


def test_images_are_mined_for_themselves():
    logits, labels, weight = random_case(60, 3, seed=3)
    together = ohem_loss(logits, labels, weight, num_images=3)
    apart = [ohem_loss(logits[i : i + 20], labels[i : i + 20], weight[i : i + 20]) for i in (0, 20, 40)]
    assert torch.equal(together, torch.cat(apart))
    assert not torch.equal(together, ohem_loss(logits, labels, weight))


@pytest.mark.parametrize(("ratio", "kept"), [(0, 0), (0.9, 0), (1, 1), (3, 3), (99, 10)])
def test_without_positives_the_hardest_negatives_of_one_are_kept(ratio, kept):
    logits = torch.arange(10.0).view(10, 1)
    loss = ohem_loss(logits, torch.ones(10, dtype=torch.long), neg_pos_ratio=ratio)
    assert (loss[:, 0] > 0).nonzero().flatten().tolist() == list(range(10 - kept, 10))


def test_the_number_of_negatives_is_rounded_down():
    logits, labels, _ = random_case(100, 1, seed=4)
    chosen = ohem_loss(logits, labels, neg_pos_ratio=0.3)[:, 0] > 0
    assert (chosen & (labels == 1)).sum() == math.floor(0.3 * (labels == 0).sum())
    assert chosen[labels == 0].all()


def test_of_equal_negatives_the_first_are_kept():
    loss = ohem_loss(torch.zeros(1000, 2), torch.full((1000,), 2), neg_pos_ratio=7)
    assert loss.any(1).nonzero().flatten().tolist() == list(range(7))


def test_gradcheck():
    logits, labels, weight = random_case(12, 3, seed=5)
    loss = functools.partial(ohem_loss, target=labels, weight=weight, neg_pos_ratio=1, num_images=2)
    assert torch.autograd.gradcheck(loss, logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_computed_in_float32(dtype):
    logits, labels, weight = random_case(60, 3, seed=6)
    half = logits.detach().to(dtype).requires_grad_()
    loss = ohem_loss(half, labels, weight)
    loss.sum().backward()
    assert loss.dtype == torch.float32 and half.grad.dtype == dtype
    assert torch.equal(loss, ohem_loss(half.detach().float(), labels, weight))


@pytest.mark.parametrize("shape", [(0, 5), (0, 1), (3, 0)])
def test_empty_input(shape):
    logits = torch.zeros(shape, requires_grad=True)
    loss = ohem_loss(logits, torch.zeros(shape[0], dtype=torch.long))
    loss.sum().backward()
    assert loss.shape == logits.grad.shape == shape


def test_all_ignored_gives_zero():
    logits, labels, _ = random_case(10, 3, seed=7)
    loss = ohem_loss(logits, labels, torch.zeros(10))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert not loss.any() and not gradient.any()


def test_ignored_infinities_and_nans_have_no_effect():
    logits, labels, _ = random_case(20, 3, seed=8)
    weight = torch.ones(20)
    weight[3:5] = 0
    broken = logits.detach().clone()
    broken[3], broken[4] = math.nan, math.inf
    broken.requires_grad_()
    loss = ohem_loss(broken, labels, weight)
    (gradient,) = torch.autograd.grad(loss.sum(), broken)
    assert torch.equal(loss, ohem_loss(logits, labels, weight)) and torch.isfinite(gradient).all()


def test_a_valid_nan_shows_in_the_loss():
    logits, labels, _ = random_case(20, 3, seed=9)
    broken = logits.detach().clone()
    broken[labels == 3, 0] = math.nan
    assert ohem_loss(broken, labels, neg_pos_ratio=1).isnan().any()


def test_leading_dimensions_do_not_matter():
    logits, labels, weight = random_case(24, 5, seed=10)
    expected = ohem_loss(logits, labels, weight, num_images=2)
    shaped = ohem_loss(logits.view(2, 12, 5), labels.view(2, 12), weight.view(2, 12), num_images=2)
    assert torch.equal(shaped, expected.view(2, 12, 5))
    column = logits.detach()[:, 0]
    dense = (labels == 0).double()
    assert torch.equal(ohem_loss(column, dense), ohem_loss(column[:, None], dense[:, None])[:, 0])


LOGITS = torch.zeros(4, 3)
LABELS = torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize(
    ("name", "got", "call"),
    [
        ("neg_pos_ratio", "-1", lambda: ohem_loss(LOGITS, LABELS, neg_pos_ratio=-1)),
        ("neg_pos_ratio", "nan", lambda: ohem_loss(LOGITS, LABELS, neg_pos_ratio=math.nan)),
        ("neg_pos_ratio", "None", lambda: ohem_loss(LOGITS, LABELS, neg_pos_ratio=None)),
        ("num_images", "0", lambda: ohem_loss(LOGITS, LABELS, num_images=0)),
        ("num_images", "2.0", lambda: ohem_loss(LOGITS, LABELS, num_images=2.0)),
        ("num_images", "3", lambda: ohem_loss(LOGITS, LABELS, num_images=3)),
        ("logits", "int64", lambda: ohem_loss(LOGITS.long(), LABELS)),
        ("target", "(5,)", lambda: ohem_loss(LOGITS, torch.zeros(5, dtype=torch.long))),
        ("target", "float32", lambda: ohem_loss(LOGITS, torch.zeros(4))),
        ("target", "detach", lambda: ohem_loss(LOGITS, torch.zeros(4, 3, requires_grad=True))),
        ("weight", "(3,)", lambda: ohem_loss(LOGITS, LABELS, torch.ones(3))),
    ],
)
def test_bad_input_is_named(name, got, call):
    with pytest.raises(ValueError, match=name) as error:
        call()
    assert got in str(error.value)
