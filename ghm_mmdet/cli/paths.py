"""Where configs, tools and results lie: in a wheel inside the package, in a checkout beside it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE / ".mim" if (PACKAGE / ".mim").is_dir() else PACKAGE.parent


def find_config(argument: str) -> str:
    """``configs/...`` of ``ROOT`` where the current folder has no such file; any other argument as it is."""
    carried = ROOT / argument
    is_carried = argument.startswith("configs/") and carried.is_file() and not Path(argument).exists()
    return str(carried) if is_carried else argument
