"""The operators in C++, for a CPU: `cpu.cpp`, compiled beforehand by ``python -m ghm_mmdet.ops build``."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import torch

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
    load()
    return path


_loaded = False


def load() -> None:
    """Load the operators where they have been compiled: the library tells torch that they are for tensors on a CPU."""
    global _loaded
    if not _loaded and library().exists():
        torch.ops.load_library(library())
        _loaded = True


def loaded() -> bool:
    """Whether the operators can be called."""
    return _loaded
