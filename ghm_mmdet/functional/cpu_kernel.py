"""The passes of the GHM losses in C++, for the compiled form on a CPU.

torch's compiler can fuse the passes but not count well on a CPU. What it makes calls these operators there; they are
compiled on their first use and kept.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ghm_mmdet.functional.density import Density
from ghm_mmdet.functional.harmonized_loss import RegionWeights, Samples

SOURCE = Path(__file__).with_suffix(".cpp")
# The rounding has to stay that of torch's own operators.
_FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
# What torch's vectors need to be as wide as they are inside torch.
_CAPABILITY_FLAGS = {
    "AVX2": ["-mavx2", "-mfma", "-mf16c", "-DCPU_CAPABILITY=AVX2", "-DCPU_CAPABILITY_AVX2"],
    "AVX512": [
        "-mavx512f",
        "-mavx512dq",
        "-mavx512bw",
        "-mavx512vl",
        "-mfma",
        "-mprefer-vector-width=512",
        "-DCPU_CAPABILITY=AVX512",
        "-DCPU_CAPABILITY_AVX512",
    ],
}
_loaded = False


class KernelError(RuntimeError):
    """The operators cannot be compiled or loaded here."""


def load() -> None:
    """Compile the operators, unless that has been done before on such a machine, and load them.

    They are kept in ``$TORCH_EXTENSIONS_DIR``, or ``~/.cache/torch_extensions``. Several processes may call this at
    once, and a process that was killed in the middle does no harm.

    Raises:
        KernelError: there is no C++ compiler, or it failed.
    """
    global _loaded
    try:
        _register()
    except (ImportError, OSError, RuntimeError) as error:
        raise KernelError(str(error)) from error
    _loaded = True


@functools.cache
def _register() -> None:
    _build()

    @torch.library.register_fake("ghm_mmdet::region_statistics")
    def _(pred: Tensor, target: Tensor, weight: Tensor | None, term: str, mu: float, bins: int) -> Tensor:
        return pred.new_empty((2, bins), dtype=torch.float64)

    @torch.library.register_fake("ghm_mmdet::harmonized_gradient")
    def _(pred: Tensor, target: Tensor, weight: Tensor | None, term: str, mu: float, region_weight: Tensor) -> Tensor:
        return torch.empty_like(pred)


def _build() -> None:
    from filelock import FileLock

    capability = torch.backends.cpu.get_cpu_capability()
    key = hashlib.sha256(SOURCE.read_bytes() + f"{torch.__version__} {capability}".encode()).hexdigest()[:16]
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or "~/.cache/torch_extensions").expanduser()
    folder = root / f"ghm_mmdet_{key}"
    library = folder / "cpu_kernel.so"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "cpu_kernel.lock"):
        if library.exists():
            torch.ops.load_library(library)
            return
        from torch.utils import cpp_extension

        with tempfile.TemporaryDirectory(dir=folder) as build:
            built = cpp_extension.load(
                "ghm_mmdet_cpu_kernel",
                [str(SOURCE)],
                extra_cflags=_FLAGS + _CAPABILITY_FLAGS.get(capability, []),
                build_directory=build,
                is_python_module=False,
            )
            os.replace(built, library)


def serves(samples: Samples, density: Density, reduction: str) -> bool:
    """Whether the operators are loaded, and made for such a loss."""
    return (
        _loaded
        and torch.compiler.is_compiling()
        and samples.pred.device.type == "cpu"
        and samples.pred.dtype == torch.float32
        and density.kind == "region"
        and reduction != "none"
    )


def harmonized_loss(
    samples: Samples,
    term: str,
    density: Density,
    reduction: str,
    sum_of_weight: Tensor | None = None,
    mu: float = 0.0,
) -> Tensor:
    """As :func:`ghm_mmdet.functional.harmonized_loss.harmonized_loss`, where :func:`serves`.

    Args:
        samples: predictions, one target and which of them count.
        term: the loss of one element: ``"label"``, BCE against labels of shape (N,); ``"dense"``, BCE against the
            targets of all logits; ``"asl1"``, authentic smooth L1.
        density: where the weights come from, checked.
        reduction: ``"mean"`` or ``"sum"``.
        sum_of_weight: N where it is not the number of valid elements.
        mu: of authentic smooth L1.
    """
    pred = samples.pred.contiguous()
    (target,) = samples.targets
    target = target.to(torch.int64 if term == "label" else torch.float32).contiguous()
    weight = samples.weight
    if weight is not None:
        # A float64 may be above 0 and its float32 not.
        weight = (weight if weight.dtype == torch.float32 else (weight > 0).float()).contiguous()
    with torch.no_grad():
        count, loss = torch.ops.ghm_mmdet.region_statistics(pred.detach(), target, weight, term, mu, density.bins)
        weights = RegionWeights(density, samples.dtype)
        weights.counts.append(count)
        weights.finish(sum_of_weight, reduction)
    value: Tensor = _HarmonizedLoss.apply(pred, target, weight, term, mu, weights.table[1:], loss)
    return value


class _HarmonizedLoss(torch.autograd.Function):
    """Sum over the regions of their weight times the sum of their losses; the weights are constants."""

    @staticmethod
    def forward(
        ctx: Any,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None,
        term: str,
        mu: float,
        region_weight: Tensor,
        loss: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(pred, target, weight, region_weight)
        ctx.term, ctx.mu = term, mu
        return (region_weight * loss).sum().to(pred.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        pred, target, weight, region_weight = ctx.saved_tensors
        gradient = torch.ops.ghm_mmdet.harmonized_gradient(
            pred, target, weight, ctx.term, ctx.mu, region_weight * grad_output
        )
        return gradient, None, None, None, None, None, None
