"""The tools and configs that the package carries: python -m ghm_mmdet [TOOL [ARGUMENTS]]."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from ghm_mmdet.errors import UserError, plain_errors

PACKAGE = Path(__file__).resolve().parent
# In a wheel they lie inside the package, in a checkout beside it.
ROOT = PACKAGE / ".mim" if (PACKAGE / ".mim").is_dir() else PACKAGE.parent
TOOLS = ROOT / "tools"


def find_tools() -> dict[str, Path]:
    """Each tool by its name, such as ``train`` and ``analysis/gradient_norms``."""
    files = [path for path in sorted(TOOLS.rglob("*")) if path.suffix in (".py", ".sh")]
    return {path.relative_to(TOOLS).with_suffix("").as_posix(): path for path in files}


def find_config(argument: str) -> str:
    """``configs/...`` in the package where this folder has no such file; any other argument as it is."""
    carried = ROOT / argument
    is_carried = argument.startswith("configs/") and carried.is_file() and not Path(argument).exists()
    return str(carried) if is_carried else argument


def usage(tools: dict[str, Path]) -> str:
    names = "\n".join(f"  {name}" for name in tools)
    return (
        f"usage: python -m ghm_mmdet TOOL [ARGUMENTS]   (--help after a tool explains it)\n\n"
        f"tools, in {TOOLS}:\n{names}\n\n"
        f"configs, which may be written as configs/NAME.py from any folder: {ROOT / 'configs'}"
    )


def main(arguments: list[str]) -> None:
    tools = find_tools()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage(tools))
        return
    name, *rest = arguments
    if name not in tools:
        raise UserError(f"no tool is named {name!r}, there are {', '.join(tools)}.")
    tool, rest = tools[name], [find_config(argument) for argument in rest]
    if tool.suffix == ".sh":
        os.execvp("bash", ["bash", str(tool), *rest])
    sys.argv = [str(tool), *rest]
    runpy.run_path(str(tool), run_name="__main__")


if __name__ == "__main__":
    with plain_errors():
        main(sys.argv[1:])
