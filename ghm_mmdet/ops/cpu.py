"""The operators in C++, for a CPU: `cpu.cpp`, compiled beforehand by ``python -m ghm_mmdet.ops build``."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from . import reference

_SOURCE = Path(__file__).with_suffix(".cpp")
# The rounding has to stay that of torch's own operators.
_FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
if sys.platform == "linux":
    # Without it torch's parallel_for is a loop. torch brings the library.
    _FLAGS.append("-fopenmp")
# What torch's vectors need to be as wide as they are inside torch.
_CAPABILITY_FLAGS = {
    "AVX2": "-mavx2 -mfma -mf16c -DCPU_CAPABILITY=AVX2 -DCPU_CAPABILITY_AVX2",
    "AVX512": "-mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mf16c -mprefer-vector-width=512"
    " -DCPU_CAPABILITY=AVX512 -DCPU_CAPABILITY_AVX512",
}


def library() -> Path:
    """Where the compiled operators are or would be, for this source, torch and kind of processor.

    That is below ``$TORCH_EXTENSIONS_DIR``, or ``~/.cache/torch_extensions``.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    parts = [_SOURCE.read_text(), " ".join(_FLAGS), torch.__version__, capability]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or "~/.cache/torch_extensions").expanduser()
    return root / f"ghm_mmdet_{key}.so"


def build() -> Path:
    """Compile the operators, unless that has been done.

    Several processes may call this at once, and one that is killed in the middle does no harm.

    Raises:
        OSError, RuntimeError, ImportError: there is no C++ compiler or no ninja, or it failed.
    """
    path = library()
    if not path.exists():
        from torch.utils import cpp_extension

        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="ghm_mmdet_build") as folder:
            flags = _FLAGS + _CAPABILITY_FLAGS.get(torch.backends.cpu.get_cpu_capability(), "").split()
            cpp_extension.load(
                "ghm_mmdet_cpu", [str(_SOURCE)], extra_cflags=flags, build_directory=folder, is_python_module=False
            )
            # Only newer versions of torch return the path.
            os.replace(Path(folder) / "ghm_mmdet_cpu.so", path)
    loaded.cache_clear()
    return path


@functools.cache
def loaded() -> bool:
    """Load the operators where they have been compiled; whether they can be called."""
    path = library()
    if path.exists():
        torch.ops.load_library(path)
    return path.exists()


def region_statistics(pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, bins: int) -> Tensor:
    if pred.dtype == torch.float64:
        return reference.region_statistics(pred, target, valid, kind, mu, bins)
    # First, since torch.ops has no such name before the library is loaded.
    inputs = _inputs(pred, target, valid, kind)
    return torch.ops.ghm_mmdet_cpu.region_statistics.default(*inputs, kind, mu, bins)


def harmonized_gradient(
    pred: Tensor, target: Tensor, valid: Tensor | None, kind: str, mu: float, region_weight: Tensor
) -> Tensor:
    if pred.dtype == torch.float64:
        return reference.harmonized_gradient(pred, target, valid, kind, mu, region_weight)
    inputs, table = _inputs(pred, target, valid, kind), region_weight.float().contiguous()
    return torch.ops.ghm_mmdet_cpu.harmonized_gradient.default(*inputs, kind, mu, table)


def window_count(ordered: Tensor, low: Tensor, high: Tensor) -> Tensor:
    if ordered.dtype == torch.float64:
        return reference.window_count(ordered, low, high)
    _check(ordered)
    return torch.ops.ghm_mmdet_cpu.window_count(ordered.contiguous(), low.contiguous(), high.contiguous())


def _inputs(pred: Tensor, target: Tensor, valid: Tensor | None, kind: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """What the C++ code reads: contiguous tensors, dense targets of one of three dtypes."""
    _check(pred)
    if kind != "label" and target.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        target = target.float()
    return pred.contiguous(), target.contiguous(), None if valid is None else valid.contiguous()


def _check(value: Tensor) -> None:
    if value.device.type != "cpu":
        raise ValueError(f"backend='cpu' is for tensors on a CPU, got one on {value.device}")
    if not loaded():
        raise ValueError("backend='cpu' has not been built: python -m ghm_mmdet.ops build")
