"""Every back end against the reference."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch
from seeds import seeded

from ghm_mmdet import ops
from ghm_mmdet.ops import cpu, elements

pytestmark = pytest.mark.usefixtures("on_device")

KINDS = ["label", "dense", "asl1"]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64]


# Every test of back ends runs with the C++ one on a CPU, and with the Triton one on a GPU or in Triton's interpreter.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        triton = INTERPRETED or metafunc.config.getoption("device").startswith("cuda")
        metafunc.parametrize("backend", ["triton" if triton else "cpu"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def backend(request):
    if request.param == "cpu":
        cpu.build()
        assert cpu.loaded()
    return request.param


def case(kind, samples, classes, bins=30, seed=0):
    """Predictions and targets whose gradient norms are not within rounding of an edge of a region."""
    generator = seeded(seed)
    pred = torch.randn(samples, classes, generator=generator) * 3 - 2
    target = torch.rand(samples, classes, generator=generator)
    target = torch.where(target > 0.7, target, 0)
    label = torch.randint(-1, 2 * classes + 1, (samples,), generator=generator)
    if kind == "label":
        target = (label[:, None] == torch.arange(classes)).float()
    for _ in range(20):
        norm = elements.gradient_norm("asl1" if kind == "asl1" else "dense", pred.double(), target.double(), 0.1) * bins
        pred = torch.where((norm - norm.round()).abs() < 1e-4, pred + 0.01, pred)
    return pred, label if kind == "label" else target


def compare(backend, pred, target, weight, kind, bins, mu=0.1):
    """The statistics and gradient, after they are found to be those of the reference."""
    inputs = (pred, target, weight, kind, mu)
    region_weight = torch.rand(bins, generator=seeded(7)) + 0.5
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
    found, _ = compare(backend, *case(kind, *shape, bins), None, kind, bins)
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
    pred, _ = case("label", 90, classes)
    most = min(torch.iinfo(dtype).max, 2 * classes)
    label = torch.randint(max(torch.iinfo(dtype).min, -5), most + 1, (90,)).to(dtype)
    found, _ = compare(backend, pred, label, None, "label", 30)
    assert found[1].sum() == sum(0 <= value < classes for value in label.tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(400, 1), (400, 7)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bool, torch.int32, torch.uint16, torch.float16])
def test_weights(backend, kind, shape, dtype):
    weight = (torch.rand(shape, generator=seeded(2)) > 0.4).to(dtype)
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
    """Many losses of one sample, most of them equal: a sum in float32 would be off by 1e-4."""
    pred = torch.full((2, 200_000), -2.1)
    pred[:, ::7] = 1.3
    target = torch.full((2,), -1)
    statistics = ops.region_statistics(pred, target, None, "label", 0.0, 2, backend)
    double = ops.region_statistics(pred.double(), target, None, "label", 0.0, 2, "reference")
    torch.testing.assert_close(statistics, double, rtol=3e-7, atol=0)


def test_a_rerun_gives_the_same_bits(backend):
    inputs = (*case("label", 5_000, 20), None, "label", 0.0, 30, backend)
    runs = [ops.region_statistics(*inputs) for _ in range(4)]
    assert all(torch.equal(run, runs[0]) for run in runs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0, 1, 5, 70_000])
def test_window_count(backend, dtype, size):
    ordered = torch.rand(size, generator=seeded(size), dtype=dtype).mul_(50).round_().div_(50).sort().values
    ordered[size - size // 5 :] = torch.inf
    low, high = ordered - 0.1, ordered + 0.1
    found, expected = (ops.window_count(ordered, low, high, name) for name in (backend, "reference"))
    assert found.dtype == torch.int32 and torch.equal(found, expected)
    some = slice(0, size, max(1, size // 100))
    inside = (ordered >= low[some, None]) & (ordered < high[some, None])
    assert torch.equal(found[some].long(), inside.sum(1))


@pytest.mark.parametrize("kind", KINDS)
def test_torch_library_accepts_the_operators(kind):
    pred, target = case(kind, 20, 3)
    target = target.int() if kind == "label" else target
    valid = torch.ones(20, 1, dtype=torch.bool)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.ghm_mmdet.region_statistics, (pred, target, valid, kind, 0.1, 5), test_utils=checks)
    arguments = (pred, target, None, kind, 0.1, torch.rand(5))
    torch.library.opcheck(torch.ops.ghm_mmdet.harmonized_gradient, arguments, test_utils=checks)
    torch.library.opcheck(torch.ops.ghm_mmdet.window_count, (torch.arange(3.0),) * 3, test_utils=checks)


@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter")
def test_triton_in_its_interpreter():
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-k", "triton", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 100


@pytest.mark.skipif(INTERPRETED, reason="the interpreter does not compile")
@pytest.mark.parametrize("target", [("cuda", 80, 32), ("hip", "gfx942", 64)], ids=lambda target: target[0])
@pytest.mark.parametrize("kind", ["label", "asl1"])
@pytest.mark.parametrize("ones", [(), ("size", "bins")], ids=str)
def test_triton_compiles_for_a_gpu(target, kind, ones, tmp_path, monkeypatch):
    """Down to the machine's code; no GPU is needed for it. Of a whole number that is 1 Triton makes a constant."""
    triton = pytest.importorskip("triton", "3.3")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from ghm_mmdet.ops import triton as kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    types = dict(pred_ptr="*fp32", target_ptr="*i32", valid_ptr="*u8", weight_ptr="*fp32")
    if kind == "asl1":
        types |= dict(pred_ptr="*bf16", target_ptr="*fp16")
    types |= dict(size="i32", bins="i32", mu="fp32", square_of_mu="fp32")
    flags = dict(channels=4, kind=kind, per_sample=kind == "label", masked=True, index_type=triton.language.int32)
    for kernel, out, sizes in (
        (kernels._statistics_kernel, "*fp64", kernels._sizes(10_000, 30)),
        (kernels._gradient_kernel, types["pred_ptr"], {"block": kernels._BLOCK}),
    ):
        constants, types["out_ptr"] = flags | sizes | dict.fromkeys(ones, 1), out
        signature = {name: "constexpr" if name in constants else types[name] for name in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget(*target), options=kernels._ROUNDING)
        code = compiled.asm["cubin" if target[0] == "cuda" else "hsaco"]
        assert len(code) > 1000
        if target[0] == "cuda":
            assert "atom" not in compiled.asm["ptx"] and "fma" not in compiled.asm["ptx"]


@pytest.mark.skipif(INTERPRETED, reason="the interpreter takes tensors on a CPU")
def test_a_back_end_of_another_device_is_refused():
    pytest.importorskip("triton")
    pred = torch.zeros(2, 3, device="cpu")
    with pytest.raises(ValueError, match="backend='triton' is for tensors on a GPU, got one on cpu"):
        ops.region_statistics(pred, pred, None, "dense", 0.0, 10, "triton")


def test_the_choice_of_a_back_end(monkeypatch):
    pytest.importorskip("triton")
    from ghm_mmdet.ops import triton

    for usable, expected in ((True, "triton"), (False, "reference")):
        monkeypatch.setattr(triton, "usable", lambda usable=usable: usable)
        assert ops.backend_for("cuda") == expected
    for built, expected in ((True, "cpu"), (False, "reference")):
        monkeypatch.setattr(cpu, "loaded", lambda built=built: built)
        assert ops.backend_for("cpu") == expected
    assert ops.backend_for("mps") == "reference"


def test_without_the_cpp_library_the_reference_runs(tmp_path):
    script = """
import torch
from ghm_mmdet import ops
pred = torch.randn(50, 3)
inputs = pred, torch.rand(50, 3), None, "dense", 0.0, 10
assert torch.equal(ops.region_statistics(*inputs), ops.region_statistics(*inputs, "reference"))
ops.region_statistics(*inputs, "cpu")
"""
    environment = {**os.environ, "TORCH_EXTENSIONS_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stderr.strip().endswith("ValueError: backend='cpu' has not been built: python -m ghm_mmdet.ops build")


@pytest.mark.skipif(INTERPRETED, reason="there Triton runs")
def test_triton_is_not_usable_without_a_gpu():
    pytest.importorskip("triton")
    from ghm_mmdet.ops import triton

    assert triton.usable() == torch.cuda.is_available()
