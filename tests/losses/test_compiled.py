import subprocess
import sys
import textwrap

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from ghm_mmdet.functional import cpu_kernel, ghm_c_loss, ghm_r_loss
from ghm_mmdet.losses import GHMC, GHMR


@pytest.fixture(params=[True, False], ids=["C++", "traced"])
def kernel(request, monkeypatch):
    """Whether the graph may call the operators in C++."""
    cpu_kernel.load()
    monkeypatch.setattr(cpu_kernel, "_loaded", request.param)


def classification(samples, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, 20, generator=generator) * 2 - 2
    labels = torch.randint(0, 60, (samples,), generator=generator).clamp(max=20)
    return logits.requires_grad_(), labels, (torch.rand(samples, generator=generator) > 0.1).float()


def regression(samples, seed):
    generator = torch.Generator().manual_seed(seed)
    pred = torch.randn(samples, 4, generator=generator) * 0.05
    weight = (torch.rand(samples, 4, generator=generator) > 0.3).float()
    return pred.requires_grad_(), torch.zeros(samples, 4), weight


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "make"),
    [
        (lambda **options: GHMC(bins=30, momentum=0.75, **options), classification),
        (lambda **options: GHMR(bins=10, momentum=0.7, **options), regression),
    ],
    ids=["GHMC", "GHMR"],
)
def test_compiled_equals_eager_over_changing_shapes(build, make, recwarn):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled, eager = build(compile=True), build()
    for seed, samples in enumerate((500, 333, 1200, 64, 2000, 777)):
        inputs = make(samples, seed)
        values, gradients = [], []
        for loss in (compiled, eager):
            value = loss(*inputs)
            values.append(value.item())
            gradients.append(torch.autograd.grad(value, inputs[0])[0])
        assert values[0] == pytest.approx(values[1], rel=1e-5)
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6 * gradients[1].abs().max().item())
        torch.testing.assert_close(compiled.acc_sum, eager.acc_sum)
    assert 1 <= torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
    assert not [warning for warning in recwarn if "compile=True" in str(warning.message)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"density": "exact"},
        {"max_weight": 2.0, "reduction": "none"},
        {"use_sigmoid": False},
    ],
    ids=str,
)
def test_every_form_is_one_graph(options, kernel):
    torch._dynamo.reset()
    backend = CompileCounterWithBackend("aot_eager")
    graph = torch.compile(ghm_c_loss, fullgraph=True, dynamic=True, backend=backend)
    for seed, samples in enumerate((100, 37, 250)):
        logits, labels, weight = classification(samples, seed)
        labels = labels.clamp(max=19)
        values = [function(logits, labels, weight, **options).sum() for function in (graph, ghm_c_loss)]
        gradients = [torch.autograd.grad(value, logits)[0] for value in values]
        assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5)
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)
    assert backend.frame_count <= 2


def test_regression_is_one_graph(kernel):
    torch._dynamo.reset()
    backend = CompileCounterWithBackend("aot_eager")
    graph = torch.compile(ghm_r_loss, fullgraph=True, dynamic=True, backend=backend)
    for seed, samples in enumerate((100, 37, 250)):
        inputs = regression(samples, seed)
        values = [function(*inputs) for function in (graph, ghm_r_loss)]
        gradients = [torch.autograd.grad(value, inputs[0])[0] for value in values]
        assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5)
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)
    assert backend.frame_count <= 2


def test_without_a_compiler_one_warning_and_the_same_loss():
    code = """
        import os, sys, warnings
        os.environ["CXX"] = "/nonexistent/compiler"
        import torch
        from ghm_mmdet.losses import GHMC
        logits, labels = torch.randn(50, 3), torch.zeros(50, dtype=torch.long)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            losses = [GHMC(compile=True)(logits, labels).item() for _ in range(3)]
        assert losses == [GHMC()(logits, labels).item()] * 3
        about = [str(warning.message) for warning in caught if "compile=True" in str(warning.message)]
        assert len(about) == 1, about
        print(about[0])
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert "ghm_c_loss runs uncompiled" in result.stdout


def test_bad_input_is_a_value_error_and_breaks_nothing(recwarn):
    loss = GHMC(compile=True)
    with pytest.raises(ValueError, match="target"):
        loss(torch.zeros(3, 2), torch.zeros(4, dtype=torch.long))
    assert not [warning for warning in recwarn if "compile=True" in str(warning.message)]


def test_the_argument_leaves_modules_own_compile_alone():
    """torch's Module.compile is a method; a loss inside a model that is compiled as a whole must keep it."""
    loss = GHMC(bins=10, compile=True)
    assert callable(loss.compile) and "compile=True" in repr(loss)
