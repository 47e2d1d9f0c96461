"""Every back end against the reference."""

from __future__ import annotations

import pytest
import torch

from ghm_mmdet import ops
from ghm_mmdet.ops import cpu

KINDS = ["label", "dense", "asl1"]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]


@pytest.fixture(scope="module", params=["cpu"])
def backend(request):
    if request.param == "cpu":
        cpu.build()
        assert cpu.loaded()
    return request.param


def case(kind, samples, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pred = torch.randn(samples, classes, generator=generator) * 3 - 2
    if kind == "label":
        return pred, torch.randint(-1, 2 * classes + 1, (samples,), generator=generator)
    target = torch.rand(samples, classes, generator=generator)
    return pred, torch.where(target > 0.7, target, 0)


def compare(backend, pred, target, weight, kind, bins, mu=0.1):
    """The statistics and gradient, after they are found to be those of the reference."""
    inputs = (pred, target, weight, kind, mu)
    region_weight = torch.rand(bins, generator=torch.Generator().manual_seed(7)) + 0.5
    found, expected = (ops.region_statistics(*inputs, bins, name) for name in (backend, "reference"))
    assert found.dtype == torch.float64 and found.shape == (3, bins)
    assert torch.equal(found[:2], expected[:2])
    # Each loss is rounded in its own way.
    allowed = 1e-6 * expected[2].abs() + 5e-7 * expected[0].sqrt()
    finite = expected[2].isfinite()
    assert torch.equal(found[2].isfinite(), finite)
    assert ((found[2] - expected[2]).abs() <= allowed)[finite].all()
    gradients = [ops.harmonized_gradient(*inputs, region_weight, name) for name in (backend, "reference")]
    assert gradients[0].dtype == pred.dtype and gradients[0].is_contiguous()
    rounding = torch.finfo(pred.dtype).eps if pred.dtype.itemsize == 2 else 1e-6
    torch.testing.assert_close(*gradients, rtol=max(rounding, 1e-5), atol=rounding, equal_nan=True)
    return found, gradients[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bins", [1, 10, 30, 300])
@pytest.mark.parametrize(
    "shape", [(1, 1), (37, 1), (1500, 3), (300, 80), (700, 17), (3, 1203), (0, 4), (4, 0)], ids=str
)
def test_shapes(backend, kind, bins, shape):
    found, _ = compare(backend, *case(kind, *shape), None, kind, bins)
    assert found[0].sum() == shape[0] * shape[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("target_dtype", FLOATS)
def test_floating_dtypes(backend, kind, dtype, target_dtype):
    pred, target = case(kind, 111, 13)
    compare(backend, pred.to(dtype), target if kind == "label" else target.to(target_dtype), None, kind, 30)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("classes", [1, 100, 200, 256])
def test_integer_labels(backend, dtype, classes):
    pred, _ = case("label", 300, classes)
    most = min(torch.iinfo(dtype).max, 2 * classes)
    label = torch.randint(max(torch.iinfo(dtype).min, -5), most + 1, (300,)).to(dtype)
    found, _ = compare(backend, pred, label, None, "label", 30)
    assert found[1].sum() == sum(0 <= value < classes for value in label.tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(400, 1), (400, 7)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bool, torch.int32, torch.float16])
def test_weights(backend, kind, shape, dtype):
    weight = (torch.rand(shape, generator=torch.Generator().manual_seed(2)) > 0.4).to(dtype)
    if dtype == torch.float64:
        weight = weight * 1e-60 - (weight == 0) * 2.0
    found, _ = compare(backend, *case(kind, 400, 7), weight, kind, 30)
    assert 0 < found[0].sum() < 2800


def test_edges_of_the_regions_to_the_last_bit(backend):
    for bins in range(1, 301):
        edges = torch.arange(bins + 1, dtype=torch.float32) / bins
        norms = torch.cat([edges, edges.nextafter(torch.ones(())), edges.nextafter(torch.zeros(()))])
        # A logit of 0 has the sigmoid 0.5: the target alone makes the norm.
        target = torch.cat([0.5 - norms[norms <= 0.5], 0.5 + norms[norms <= 0.5]])[:, None]
        compare(backend, torch.zeros_like(target), target, None, "dense", bins)


@pytest.mark.parametrize("kind", KINDS)
def test_infinity_and_nan_are_ignored_without_weight_and_counted_with(backend, kind):
    pred, target = case(kind, 64, 3)
    pred[5], pred[9, 1], pred[11, 2] = torch.nan, torch.inf, -torch.inf
    weight = torch.ones(64, 1)
    weight[[5, 9, 11]] = 0
    if kind != "label":
        target[5] = torch.nan
    found, gradient = compare(backend, pred, target, weight, kind, 30)
    assert found.isfinite().all() and gradient.isfinite().all() and not gradient[[5, 9, 11]].any()
    found, gradient = compare(backend, pred, target, None, kind, 30)
    assert found[0].sum() == pred.numel() and not found[2].isfinite().all() and gradient[5].isnan().all()


def test_extreme_values(backend):
    logits = torch.tensor([[1e4, -1e4, 88.8, -88.8, 103.0, -103.0, 0.0, 1e30]]).repeat(40, 1)
    found, gradient = compare(backend, logits, torch.arange(40) % 9, None, "label", 10)
    assert found.isfinite().all() and gradient.isfinite().all()
    found, gradient = compare(backend, logits, torch.zeros_like(logits), None, "asl1", 10)
    assert found.isfinite().all() and gradient.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_any_order_of_memory(backend, kind):
    pred, target = case(kind, 60, 40)
    expected = compare(backend, pred, target, None, kind, 30)
    turned = [
        value.t().contiguous().t() if value.dim() == 2 else value.repeat_interleave(2)[::2] for value in (pred, target)
    ]
    weight = torch.ones(40, 60).bool().t()
    assert not any(value.is_contiguous() for value in (*turned, weight))
    for found, value in zip(compare(backend, *turned, weight, kind, 30), expected):
        assert torch.equal(found, value)


def test_wide_rows_are_summed_in_double(backend):
    """A million losses of one sample, most of them equal: a sum in float32 would be off by 1e-3."""
    pred = torch.full((2, 1_000_000), -2.1)
    pred[:, ::7] = 1.3
    target = torch.full((2,), -1)
    statistics = ops.region_statistics(pred, target, None, "label", 0.0, 2, backend)
    double = ops.region_statistics(pred.double(), target, None, "label", 0.0, 2, "reference")
    torch.testing.assert_close(statistics, double, rtol=3e-7, atol=0)


def test_a_rerun_gives_the_same_bits(backend):
    inputs = (*case("label", 20_000, 20), None, "label", 0.0, 30, backend)
    runs = [ops.region_statistics(*inputs) for _ in range(4)]
    assert all(torch.equal(run, runs[0]) for run in runs)


@pytest.mark.parametrize("kind", KINDS)
def test_torch_library_accepts_the_operators(kind):
    pred, target = case(kind, 20, 3)
    target = target.int() if kind == "label" else target
    valid = torch.ones(20, 1, dtype=torch.bool)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.ghm_mmdet.region_statistics, (pred, target, valid, kind, 0.1, 5), test_utils=checks)
    arguments = (pred, target, None, kind, 0.1, torch.rand(5))
    torch.library.opcheck(torch.ops.ghm_mmdet.harmonized_gradient, arguments, test_utils=checks)
