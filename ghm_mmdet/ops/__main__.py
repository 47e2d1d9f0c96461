"""``python -m ghm_mmdet.ops build`` compiles the operators for this machine's CPU, without ``build`` looks for them."""

from __future__ import annotations

import sys

from ghm_mmdet.errors import UserError, plain_errors

from . import cpu


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["build"]):
        raise UserError(f"unknown arguments {' '.join(arguments)!r}\nusage: python -m ghm_mmdet.ops [build]")
    if arguments:
        try:
            print(f"the C++ operators are built: {cpu.build()}")
        except (ImportError, OSError, RuntimeError) as error:
            reason = str(error).strip() or type(error).__name__
            raise UserError(
                f"the C++ operators cannot be compiled here:\n{reason}\nA C++ compiler and `pip install ninja` are "
                f"needed. Without the operators the losses run in plain torch, several times slower on a CPU."
            ) from error
    elif cpu.loaded():
        print(f"the C++ operators are built: {cpu.library()}")
    else:
        print("the C++ operators are not built: python -m ghm_mmdet.ops build")


if __name__ == "__main__":
    with plain_errors():
        main(sys.argv[1:])
