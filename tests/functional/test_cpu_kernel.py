"""The operators in C++ against the code in Python, which has oracles of its own."""

import os
import platform
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from ghm_mmdet.functional import cpu_kernel, ghm_c_loss, ghm_r_loss


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """Loaded for these tests alone: the others see what torch's compiler makes without it."""
    cpu_kernel.load()
    yield
    torch._dynamo.reset()
    cpu_kernel._loaded = False


@pytest.fixture
def calls(monkeypatch):
    """How often a loss went through the operators."""
    seen = []
    served = cpu_kernel.harmonized_loss

    def counting(*args, **kwargs):
        seen.append(args)
        return served(*args, **kwargs)

    monkeypatch.setattr(cpu_kernel, "harmonized_loss", counting)
    return seen


def compare(function, pred, *inputs, **options):
    """Value, gradient and moving averages of the compiled function and of the function as it is."""
    torch._dynamo.reset()
    graph = torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")
    found = []
    for run in (graph, function):
        state = {name: value.clone() for name, value in options.items() if isinstance(value, torch.Tensor)}
        leaf = pred.clone().requires_grad_()
        value = run(leaf, *inputs, **{**options, **state})
        (gradient,) = torch.autograd.grad(value * 1.7, leaf)
        found.append((value.detach(), gradient, state))
    (value, gradient, state), (expected, expected_gradient, expected_state) = found
    torch.testing.assert_close(value, expected, rtol=2e-6, atol=1e-12, equal_nan=True)
    size = max(expected_gradient.nan_to_num().abs().flatten().tolist(), default=0.0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-6 * size, equal_nan=True)
    for name, tensor in expected_state.items():
        torch.testing.assert_close(state[name], tensor)
    return value, gradient


def logits_and_labels(samples, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, classes, generator=generator) * 3 - 2
    return logits, torch.randint(-1, 2 * classes + 1, (samples,), generator=generator)


@pytest.mark.parametrize("samples, classes", [(1, 1), (37, 1), (5000, 3), (1000, 80), (700, 17), (3, 1203), (0, 4)])
@pytest.mark.parametrize("bins", [1, 10, 30, 300])
def test_labels(samples, classes, bins, calls):
    logits, labels = logits_and_labels(samples, classes)
    compare(ghm_c_loss, logits, labels, None, bins)
    assert calls


@pytest.mark.parametrize("weights", [(900,), (900, 1), (900, 7)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bool, torch.int32])
@pytest.mark.parametrize("form", ["labels", "dense"])
def test_weights(weights, dtype, form, calls):
    logits, labels = logits_and_labels(900, 7)
    target = labels if form == "labels" else torch.rand(900, 7, generator=torch.Generator().manual_seed(1))
    weight = (torch.rand(weights, generator=torch.Generator().manual_seed(2)) > 0.4).to(dtype)
    if dtype == torch.float64:
        weight = weight * 1e-60 - (weight == 0) * 2.0
    compare(ghm_c_loss, logits, target, weight, 30)
    assert calls


@pytest.mark.parametrize("options", [{"max_weight": 2.0}, {"reduction": "sum"}, {"momentum": 0.75}], ids=str)
def test_options(options, calls):
    logits, labels = logits_and_labels(2000, 5)
    if "momentum" in options:
        generator = torch.Generator().manual_seed(3)
        options = {**options, "acc_sum": torch.rand(30, generator=generator) * 500, "acc_norm": torch.full((30,), 0.6)}
    compare(ghm_c_loss, logits, labels, None, 30, **options)
    assert calls


@pytest.mark.parametrize("shape", [(1, 4), (2500, 4), (20000, 4), (0, 4), (50,)], ids=str)
def test_boxes(shape, calls):
    generator = torch.Generator().manual_seed(4)
    pred, target = torch.randn(2, *shape, generator=generator) * 0.05
    weight = (torch.rand(shape, generator=generator) - 0.3).clamp(min=0) * 2
    compare(ghm_r_loss, pred, target, weight)
    compare(ghm_r_loss, pred * 1e25, target, None, 0.1, 20)
    assert calls


def test_gradient_norms_on_the_edges_of_the_regions(calls):
    """Each edge, and its neighbours among the floats, is put where the code in Python puts it."""
    for bins in (3, 7, 10, 30, 100):
        edges = torch.arange(bins + 1, dtype=torch.float32) / bins
        norms = torch.cat([edges, edges.nextafter(torch.ones(())), edges.nextafter(torch.zeros(()))])
        # A logit of 0 has the sigmoid 0.5: the target alone makes the norm.
        target = torch.cat([0.5 - norms[norms <= 0.5], 0.5 + norms[norms <= 0.5]])[:, None]
        compare(ghm_c_loss, torch.zeros_like(target), target, None, bins)
        logits = torch.logit(norms.double())[:, None].float()
        compare(ghm_c_loss, logits, torch.ones(len(logits), dtype=torch.long), None, bins)
    assert calls


def test_extreme_logits():
    logits = torch.tensor([[1e4, -1e4, 88.8, -88.8, 103.0, -103.0, 0.0, 1e30]]).repeat(40, 1)
    labels = torch.arange(40) % 9
    value, gradient = compare(ghm_c_loss, logits, labels, None, 10)
    assert value.isfinite() and gradient.isfinite().all()


def test_what_is_ignored_may_be_infinite_and_what_is_nan_stays_visible():
    logits, labels = logits_and_labels(64, 3)
    logits[5], logits[9, 1] = torch.nan, torch.inf
    weight = torch.ones(64)
    weight[5] = weight[9] = 0
    value, gradient = compare(ghm_c_loss, logits, labels, weight, 30)
    assert value.isfinite() and gradient.isfinite().all() and not gradient[[5, 9]].any()
    value, gradient = compare(ghm_c_loss, logits, labels, None, 30)
    assert value.isnan() and gradient[5].isnan().all()


def test_logits_in_any_order_of_memory(calls):
    logits, _ = logits_and_labels(60, 40)
    compare(ghm_c_loss, logits.t(), torch.arange(40), None, 30)
    compare(ghm_c_loss, logits.view(3, 20, 40), torch.rand(3, 20, 40), None, 30)
    assert calls


def test_a_rerun_gives_the_same_bits():
    logits, labels = logits_and_labels(50_000, 20)
    runs = [
        torch.ops.ghm_mmdet.region_statistics(logits, labels.clamp(max=20), None, "label", 0.0, 30) for _ in range(5)
    ]
    assert all(torch.equal(run, runs[0]) for run in runs)
    assert runs[0][0].sum() == logits.numel()


@pytest.mark.parametrize(
    "options", [{"density": "exact"}, {"reduction": "none"}, {"use_sigmoid": False}, {"dtype": torch.float64}], ids=str
)
def test_what_the_operators_are_not_made_for_goes_without_them(options, calls):
    options = dict(options)
    logits, labels = logits_and_labels(50, 4)
    logits = logits.to(options.pop("dtype", torch.float32))
    graph = torch.compile(ghm_c_loss, fullgraph=True, dynamic=True, backend="aot_eager")
    value = graph(logits, labels.clamp(0, 3), **options)
    torch.testing.assert_close(value, ghm_c_loss(logits, labels.clamp(0, 3), **options))
    assert not calls


BUILD = """
    import sys
    from ghm_mmdet.functional import cpu_kernel
    try:
        cpu_kernel.load()
    except cpu_kernel.KernelError as error:
        sys.exit(f"KernelError: {error}")
    import torch
    statistics = torch.ops.ghm_mmdet.region_statistics
    print(statistics(torch.zeros(2, 3), torch.tensor([3, 3]), None, "label", 0.0, 2).tolist())
"""


def build(folder, **changes):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BUILD)],
        env={**os.environ, "TORCH_EXTENSIONS_DIR": str(folder), **changes},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_several_processes_build_once_after_one_was_killed(tmp_path):
    killed = build(tmp_path)
    while not list(tmp_path.glob("*/*/build.ninja")):
        assert killed.poll() is None
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    ranks = [build(tmp_path) for _ in range(3)]
    for rank in ranks:
        output, errors = rank.communicate(timeout=300)
        assert rank.returncode == 0, errors
        # A sigmoid of 0.5 lies in the upper of two regions.
        assert output.startswith("[[0.0, 6.0], [0.0, 4.15")
    assert len(list(tmp_path.glob("*/cpu_kernel.so"))) == 1


def test_without_a_compiler_a_plain_error(tmp_path):
    process = build(tmp_path, CXX="/nonexistent/compiler")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "KernelError: " in errors and "Traceback" not in errors
    assert not list(tmp_path.glob("*/*.so"))


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="these names are those of x86-64")
@pytest.mark.parametrize("capability", ["avx2", "default"])
def test_processors_with_narrower_vectors(capability, tmp_path):
    """Torch and the operators built for another processor than this, on the tests that ask for equal regions."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", __file__, "-k", "test_gradient_norms_on or test_boxes or test_extreme"],
        env={**os.environ, "TORCH_EXTENSIONS_DIR": str(tmp_path), "ATEN_CPU_CAPABILITY": capability},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout
    assert len(list(tmp_path.glob("*/cpu_kernel.so"))) == 1
