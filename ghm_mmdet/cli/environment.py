"""Is the stack below us there, of a version that works, and complete?"""

from __future__ import annotations

import importlib
import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from ghm_mmdet.errors import UserError

# Lowest version and first version that no longer works.
SUPPORTED = {
    "mmengine": ("0.10.0", "1.0.0"),
    "mmcv": ("2.0.0", "2.2.0"),
    "mmdet": ("3.3.0", "4.0.0"),
}
MMCV_HINT = (
    "Build mmcv with its ops: MMCV_WITH_OPS=1 FORCE_CUDA=0 pip install --no-build-isolation 'mmcv>=2.0.0,<2.2.0' "
    "(torch installed first), or run `make demo`, which does it."
)


def check_stack() -> None:
    """Raises UserError when torch, mmengine, mmcv or mmdet is missing, of an unsupported version, or broken.

    mmdet imports mmcv's compiled ops deep inside its own modules, so that an mmcv without them is looked for before
    mmdet is imported.
    """
    for name in ("torch", *SUPPORTED):
        if find_spec(name) is None:
            raise UserError(f"{name} is not installed.\n{_install_hint(name)}")
    # packaging comes with mmengine, which was just found.
    from packaging.version import Version

    for name, (lowest, too_new) in SUPPORTED.items():
        found = _installed_version(name)
        if not Version(lowest) <= Version(found) < Version(too_new):
            raise UserError(f"{name} {found} is installed, >={lowest},<{too_new} is needed.\n{_install_hint(name)}")
    mmcv = find_spec("mmcv")
    assert mmcv is not None and mmcv.submodule_search_locations, "it was found above"
    folders = [Path(folder) for folder in mmcv.submodule_search_locations]
    if not any(list(folder.glob("_ext.*")) for folder in folders):
        raise UserError(f"mmcv has no compiled ops (no mmcv._ext in {folders[0]}).\n{MMCV_HINT}")
    for name in ("torch", "mmengine", "mmcv._ext", "mmdet"):
        try:
            importlib.import_module(name)
        except (ImportError, AssertionError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{name} does not import: {reason}\n{_install_hint(name)}") from error


def available_cpus() -> int:
    """The CPUs that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _install_hint(name: str) -> str:
    if name.startswith("mmcv"):
        return MMCV_HINT
    return "Run `make demo`, which sets up .venv, or install the versions in constraints.txt."


def _installed_version(name: str) -> str:
    for distribution in (name, f"{name}-lite"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    raise UserError(f"{name} has no package metadata, so its version is unknown.\n{_install_hint(name)}")
