"""The command line: ghm-mmdet COMMAND [ARGUMENTS], also python -m ghm_mmdet COMMAND [ARGUMENTS].

Each command is a module with a docstring, which ``--help`` shows, and two functions: ``add_arguments(parser)`` declares
its arguments, ``run(args)`` does the work and returns the exit code, None for 0. Importing it imports nothing heavy.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Sequence

from ghm_mmdet.cli.arguments import Parser
from ghm_mmdet.cli.locale import use_utf8
from ghm_mmdet.cli.paths import ROOT, find_config
from ghm_mmdet.errors import UserError, plain_errors

# By name: the module of a command, and what it does in a few words.
COMMANDS = {
    "start": ("ghm_mmdet.cli.start", "from a folder of labelled images to a trained detector"),
    "train": ("ghm_mmdet.cli.train", "train a detector"),
    "test": ("ghm_mmdet.cli.test", "test a detector: its metrics on the test data"),
    "predict": ("ghm_mmdet.cli.predict", "detect objects in images"),
    "check": ("ghm_mmdet.cli.check", "look for mistakes in the data before training"),
    "prior": ("ghm_mmdet.cli.prior", "measure how rare positives are, and the bias to start from"),
    "gradients": ("ghm_mmdet.cli.gradients", "draw the gradient norms of a trained detector"),
    "watch": ("ghm_mmdet.cli.watch", "draw how the gradient norms moved during a training"),
    "report": ("ghm_mmdet.report.command", "compare trained runs on one HTML page"),
    "study": ("ghm_mmdet.experiments.study.command", "run a grid of trainings, or rewrite docs/results.md"),
    "benchmark": ("ghm_mmdet.experiments.benchmark.command", "measure time and memory of losses or training steps"),
    "digits": ("ghm_mmdet.cli.digits", "make the digits data set"),
    "demo": ("ghm_mmdet.experiments.demo", "make digits, train on them, test and draw, on a CPU"),
}
# The names of the files in tools/, by which `python -m ghm_mmdet` knew the commands at first.
FORMER_NAMES = {
    "check_dataset": "check",
    "make_digits": "digits",
    "analysis/estimate_prior": "prior",
    "analysis/gradient_norms": "gradients",
    "analysis/watch": "watch",
}


def usage() -> str:
    commands = "\n".join(f"  {name:10} {what}" for name, (_, what) in COMMANDS.items())
    return (
        f"usage: ghm-mmdet COMMAND [ARGUMENTS]   (--help after a command explains it)\n\n{commands}\n\n"
        f"configs, which may be written as configs/NAME.py from any folder: {ROOT / 'configs'}\n"
        f"scripts for several GPUs: {ROOT / 'tools'}"
    )


def make_parser(name: str, prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of a command, with the command's ``run`` as a default."""
    command = importlib.import_module(COMMANDS[name][0])
    parser = Parser(prog=prog, description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_arguments(parser)
    parser.set_defaults(run=command.run)
    return parser


def run_command(name: str, arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Runs a command, by default with the arguments of this process, and ends with its exit code unless that is 0."""
    if arguments is None:
        use_utf8()
    words = sys.argv[1:] if arguments is None else list(arguments)
    with plain_errors():
        args = make_parser(name, prog).parse_args([find_config(word) for word in words])
        args.command_line = shlex.join(["ghm-mmdet", name, *words])
        code = args.run(args)
    if code:
        sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> None:
    if arguments is None:
        use_utf8()
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return
    name = FORMER_NAMES.get(words[0], words[0])
    if name not in COMMANDS:
        with plain_errors():
            raise UserError(f"no command is named {words[0]!r}, there are {', '.join(COMMANDS)}.")
    run_command(name, words[1:], prog=f"ghm-mmdet {name}")


if __name__ == "__main__":
    main()
