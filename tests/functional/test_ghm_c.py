import functools
import math

import oracles
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from seeds import seeded

from ghm_mmdet.functional import ghm_c_loss

pytestmark = pytest.mark.usefixtures("on_device")


def random_case(samples, classes, seed, spread=4.0):
    generator = seeded(seed)
    logits = torch.randn(samples, classes, generator=generator, dtype=torch.float64) * spread
    labels = torch.randint(0, 2 * classes, (samples,), generator=generator).clamp(max=classes)
    mask = (torch.rand(samples, generator=generator) > 0.2).double()
    return logits.requires_grad_(), labels, mask


def assert_equals_oracle(loss, logits, expected):
    assert loss.item() == pytest.approx(expected.loss, rel=1e-9, abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.flatten().tolist() == pytest.approx(expected.gradient, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("bins", [1, 5, 30])
@pytest.mark.parametrize("form", ["labels", "one-hot", "soft"])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_oracle(bins, form, masked):
    logits, labels, mask = random_case(37, 6, seed=bins)
    flat = oracles.one_hot(labels.tolist(), 6)
    target = labels
    if form != "labels":
        target = torch.tensor(flat, dtype=torch.float64).view(37, 6)
    if form == "soft":
        target = target * 0.7 + 0.1
        flat = target.flatten().tolist()
    valid = mask.repeat_interleave(6).tolist() if masked else [1] * 222
    loss = ghm_c_loss(logits, target, mask if masked else None, bins)
    assert_equals_oracle(loss, logits, oracles.ghm_c(logits.flatten().tolist(), flat, valid, bins))


@pytest.mark.parametrize("debias", [False, True])
@pytest.mark.parametrize("momentum", [0.5, 0.75, 0.9])
def test_moving_average_equals_oracle_over_calls(momentum, debias):
    bins = 10
    average = oracles.MovingAverage(bins, momentum, debias)
    acc_sum = torch.zeros(bins, dtype=torch.float64)
    acc_norm = torch.zeros(bins, dtype=torch.float64) if debias else None
    for step in range(5):
        logits, labels, mask = random_case(20 + step, 3, seed=step)
        loss = ghm_c_loss(logits, labels, mask, bins, momentum=momentum, acc_sum=acc_sum, acc_norm=acc_norm)
        flat = oracles.one_hot(labels.tolist(), 3)
        valid = mask.repeat_interleave(3).tolist()
        expected = oracles.ghm_c(logits.flatten().tolist(), flat, valid, bins, average)
        assert_equals_oracle(loss, logits, expected)
        assert acc_sum.tolist() == pytest.approx(average.sums)


def test_debias_makes_the_first_call_that_of_no_average():
    logits, labels, _ = random_case(50, 4, seed=0)
    plain = ghm_c_loss(logits, labels, bins=10)
    state = {"acc_sum": torch.zeros(10).double(), "acc_norm": torch.zeros(10).double()}
    assert ghm_c_loss(logits, labels, bins=10, momentum=0.9, **state).item() == pytest.approx(plain.item())
    biased = ghm_c_loss(logits, labels, bins=10, momentum=0.9, acc_sum=torch.zeros(10).double())
    assert biased.item() == pytest.approx(10 * plain.item())


@pytest.mark.parametrize("max_weight", [0.5, 1.0, 3.0])
def test_max_weight_equals_oracle(max_weight):
    logits, labels, mask = random_case(40, 5, seed=3)
    flat, valid = oracles.one_hot(labels.tolist(), 5), mask.repeat_interleave(5).tolist()
    expected = oracles.ghm_c(logits.flatten().tolist(), flat, valid, 30, max_weight=max_weight)
    assert max(expected.weights) == max_weight
    assert_equals_oracle(ghm_c_loss(logits, labels, mask, 30, max_weight=max_weight), logits, expected)


def test_reductions_agree():
    logits, labels, mask = random_case(40, 5, seed=4)
    losses = {name: ghm_c_loss(logits, labels, mask, reduction=name) for name in ("none", "mean", "sum")}
    assert losses["none"].shape == logits.shape
    assert losses["none"].sum().item() == pytest.approx(losses["sum"].item())
    assert losses["mean"].item() == pytest.approx(losses["sum"].item() / (mask.sum().item() * 5))
    direction = torch.rand(logits.shape, dtype=torch.float64)
    (of_elements,) = torch.autograd.grad((losses["none"] * direction).sum(), logits)
    (of_sum,) = torch.autograd.grad(losses["sum"], logits)
    assert torch.allclose(of_elements, of_sum * direction)


def test_one_bin_is_plain_cross_entropy():
    logits, labels, _ = random_case(64, 7, seed=5)
    target = F.one_hot(labels, 8)[:, :7].double()
    plain = F.binary_cross_entropy_with_logits(logits, target)
    assert ghm_c_loss(logits, labels, bins=1).item() == pytest.approx(plain.item())


def test_uniform_histogram_is_plain_cross_entropy():
    probability = ((torch.arange(100, dtype=torch.float64) + 0.5) / 100).view(20, 5)
    logits = torch.logit(probability)
    target = torch.zeros_like(logits)
    plain = F.binary_cross_entropy_with_logits(logits, target)
    assert ghm_c_loss(logits, target, bins=10).item() == pytest.approx(plain.item())


def test_every_filled_region_weighs_the_same():
    logits, labels, _ = random_case(500, 3, seed=6)
    elements = ghm_c_loss(logits, labels, bins=8, reduction="none")
    target = F.one_hot(labels, 4)[:, :3].double()
    region = ((logits.sigmoid() - target).abs() * 8).long().clamp(max=7)
    weight = elements / F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    shares = torch.stack([weight[region == j].sum() for j in region.unique()])
    assert torch.allclose(shares, shares.mean())


def test_gradcheck():
    # The middle of each region: the finite differences must not carry an element over an edge.
    probability = (torch.tensor([0.5, 1.5, 1.5, 2.5, 4.5, 4.5, 6.5, 7.5, 7.5, 7.5, 8.5, 9.5]).double() / 10).view(4, 3)
    logits = torch.logit(probability).requires_grad_()
    weight = torch.tensor([1.0, 1.0, 0.0, 1.0])
    for target in (torch.tensor([0, 3, 1, 2]), torch.zeros(4, 3).double()):
        for reduction in ("mean", "none"):
            loss = functools.partial(ghm_c_loss, target=target, weight=weight, bins=10, reduction=reduction)
            assert torch.autograd.gradcheck(loss, logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_saturated_wrong_predictions_keep_their_loss(dtype):
    logits = torch.tensor([[60.0], [-60.0], [-60.0], [60.0]], dtype=dtype, requires_grad=True)
    labels = torch.tensor([1, 0, 1, 0])  # wrong, wrong, right, right
    loss = ghm_c_loss(logits, labels)
    loss.backward()
    # Two regions of two elements each: all weights are 1, and the wrong halves cost 60 each.
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(30.0)
    assert logits.grad.dtype == dtype
    assert logits.grad.flatten().tolist() == pytest.approx([0.25, -0.25, 0.0, 0.0], abs=1e-20)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_equals_float32_on_the_same_values(dtype):
    logits, labels, mask = random_case(200, 5, seed=7)
    half = logits.detach().to(dtype)
    assert ghm_c_loss(half, labels, mask).item() == ghm_c_loss(half.float(), labels, mask).item()


@pytest.mark.parametrize("magnitude", [1e2, 1e4, 1e30])
def test_extreme_logits_stay_finite(magnitude):
    logits = torch.tensor([[magnitude, -magnitude, 0.0]], requires_grad=True)
    for target in (torch.tensor([1]), torch.tensor([[0.0, 1.0, 0.5]])):
        loss = ghm_c_loss(logits, target)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss) and torch.isfinite(gradient).all()


@pytest.mark.parametrize("shape", [(0, 5), (0, 1), (3, 0)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_empty_input_gives_zero_with_a_gradient(shape, reduction):
    logits = torch.zeros(shape, requires_grad=True)
    loss = ghm_c_loss(logits, torch.zeros(shape[0], dtype=torch.long), reduction=reduction).sum()
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == shape


@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_all_ignored_gives_zero_and_leaves_the_average(momentum):
    logits, labels, _ = random_case(10, 3, seed=8)
    acc_sum = torch.rand(30)
    before = acc_sum.clone()
    loss = ghm_c_loss(logits, labels, torch.zeros(10), momentum=momentum, acc_sum=acc_sum)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0 and not gradient.any() and torch.equal(acc_sum, before)


def test_ignored_infinities_and_nans_have_no_effect():
    logits, labels, _ = random_case(10, 3, seed=9)
    mask = torch.ones(10)
    mask[3:5] = 0
    clean = ghm_c_loss(logits, labels, mask)
    broken = logits.detach().clone()
    broken[3], broken[4] = math.nan, math.inf
    broken.requires_grad_()
    loss = ghm_c_loss(broken, labels, mask)
    (gradient,) = torch.autograd.grad(loss, broken)
    assert loss.item() == clean.item() and not gradient[3:5].any()


def test_a_valid_nan_shows_in_the_loss():
    logits = torch.tensor([[0.0, math.nan]])
    assert math.isnan(ghm_c_loss(logits, torch.tensor([0])).item())


def test_weight_per_sample_column_and_element_agree():
    logits, labels, mask = random_case(30, 4, seed=10)
    losses = {
        ghm_c_loss(logits, labels, weight).item()
        for weight in (mask, mask * 17.5, mask.bool(), mask[:, None], mask[:, None].expand(30, 4))
    }
    assert len(losses) == 1


def test_labels_of_any_integer_dtype_and_range():
    logits, labels, _ = random_case(30, 4, seed=11)
    expected = ghm_c_loss(logits, labels).item()
    assert ghm_c_loss(logits, labels.int()).item() == expected
    assert ghm_c_loss(logits, labels.to(torch.uint8)).item() == expected
    assert ghm_c_loss(logits, torch.where(labels == 4, -1, labels)).item() == expected
    assert ghm_c_loss(logits, torch.where(labels == 4, 99, labels)).item() == expected


def test_leading_dimensions_and_layout_do_not_matter():
    logits, labels, mask = random_case(24, 5, seed=12)
    expected = ghm_c_loss(logits, labels, mask).item()
    assert ghm_c_loss(logits.view(2, 3, 4, 5), labels.view(2, 3, 4), mask.view(2, 3, 4)).item() == expected
    transposed = logits.detach().t().contiguous().t()
    assert not transposed.is_contiguous()
    assert ghm_c_loss(transposed, labels, mask).item() == expected
    column = logits.detach()[:, 0]
    assert ghm_c_loss(column, (labels == 0).double()).item() == ghm_c_loss(column[:, None], labels.clamp(max=1)).item()


def test_many_pieces_equal_one(monkeypatch):
    from ghm_mmdet.ops import reference

    logits, labels, mask = random_case(2500, 3, seed=13)
    whole = ghm_c_loss(logits, labels, mask)
    (whole_gradient,) = torch.autograd.grad(whole, logits)
    monkeypatch.setattr(reference, "_PIECE_OF_A_CORE", 256 * 3)
    pieces = ghm_c_loss(logits, labels, mask)
    (gradient,) = torch.autograd.grad(pieces, logits)
    assert pieces.item() == pytest.approx(whole.item(), rel=1e-12)
    assert torch.equal(gradient, whole_gradient)


@settings(max_examples=150, deadline=None)
@given(
    samples=st.integers(0, 40),
    classes=st.integers(1, 6),
    bins=st.integers(1, 50),
    seed=st.integers(0, 2**31),
    spread=st.sampled_from([0.0, 1.0, 5.0, 40.0]),
    masked=st.booleans(),
    max_weight=st.none() | st.floats(0.01, 100),
)
def test_any_shape_equals_oracle(samples, classes, bins, seed, spread, masked, max_weight):
    logits, labels, mask = random_case(samples, classes, seed, spread)
    loss = ghm_c_loss(logits, labels, mask if masked else None, bins, max_weight=max_weight)
    flat = oracles.one_hot(labels.tolist(), classes)
    valid = mask.repeat_interleave(classes).tolist() if masked else [1] * len(flat)
    bound = math.inf if max_weight is None else max_weight
    assert_equals_oracle(loss, logits, oracles.ghm_c(logits.flatten().tolist(), flat, valid, bins, max_weight=bound))


LOGITS = torch.zeros(4, 3)
LABELS = torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize(
    ("name", "got", "call"),
    [
        ("bins", "0", lambda: ghm_c_loss(LOGITS, LABELS, bins=0)),
        ("bins", "2.5", lambda: ghm_c_loss(LOGITS, LABELS, bins=2.5)),
        ("bins", "True", lambda: ghm_c_loss(LOGITS, LABELS, bins=True)),
        ("momentum", "1", lambda: ghm_c_loss(LOGITS, LABELS, momentum=1)),
        ("momentum", "-0.1", lambda: ghm_c_loss(LOGITS, LABELS, momentum=-0.1)),
        ("momentum", "nan", lambda: ghm_c_loss(LOGITS, LABELS, momentum=math.nan)),
        ("acc_sum", "None", lambda: ghm_c_loss(LOGITS, LABELS, momentum=0.5)),
        ("acc_sum", "(3,)", lambda: ghm_c_loss(LOGITS, LABELS, momentum=0.5, acc_sum=torch.zeros(3))),
        ("max_weight", "0", lambda: ghm_c_loss(LOGITS, LABELS, max_weight=0)),
        ("reduction", "'avg'", lambda: ghm_c_loss(LOGITS, LABELS, reduction="avg")),
        ("logits", "int64", lambda: ghm_c_loss(LOGITS.long(), LABELS)),
        ("logits", "()", lambda: ghm_c_loss(torch.zeros(()), LABELS)),
        ("target", "(5,)", lambda: ghm_c_loss(LOGITS, torch.zeros(5, dtype=torch.long))),
        ("target", "float32", lambda: ghm_c_loss(LOGITS, torch.zeros(4))),
        ("target", "(4, 2)", lambda: ghm_c_loss(LOGITS, torch.zeros(4, 2))),
        ("target", "complex64", lambda: ghm_c_loss(LOGITS, torch.zeros(4, 3, dtype=torch.complex64))),
        ("target", "list", lambda: ghm_c_loss(LOGITS, [0, 0, 0, 0])),
        ("target", "detach", lambda: ghm_c_loss(LOGITS, torch.zeros(4, 3, requires_grad=True))),
        ("weight", "(3,)", lambda: ghm_c_loss(LOGITS, LABELS, torch.ones(3))),
        ("weight", "(1, 3)", lambda: ghm_c_loss(LOGITS, LABELS, torch.ones(1, 3))),
        ("target", "meta", lambda: ghm_c_loss(LOGITS, LABELS.to("meta"))),
    ],
)
def test_bad_input_is_named(name, got, call):
    with pytest.raises(ValueError, match=name) as error:
        call()
    assert got in str(error.value)


@pytest.mark.parametrize("density", ["region", "exact"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_backward_twice_gives_the_same(density, reduction):
    logits, labels, mask = random_case(20, 3, seed=14)
    loss = 3 * ghm_c_loss(logits, labels, mask, density=density, reduction=reduction).sum()
    first, second = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second) and first.any()


def test_prediction_changed_before_backward_is_an_error():
    logits = torch.zeros(2, 3, requires_grad=True)
    pred = logits * 2
    loss = ghm_c_loss(pred, torch.tensor([0, 1]))
    pred.add_(1)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("score", [0.05, 0.3, 0.45, 0.55, 0.7, 0.95])
def test_contradicting_labels_push_the_score_to_one_half(share, score):
    """Of samples that cannot be told apart: cross-entropy moves their score towards the share of positives."""
    logits = torch.full((1000, 1), score).logit().requires_grad_()
    target = (torch.arange(1000)[:, None] < share * 1000).float()
    for loss, goal in (
        (ghm_c_loss(logits, target, bins=10), 0.5),
        (F.binary_cross_entropy_with_logits(logits, target), share),
    ):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert gradient.sum().sign() == (1 if score > goal else -1)
