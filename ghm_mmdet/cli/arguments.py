"""Command-line arguments that several commands have; nothing here imports torch."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn

from ghm_mmdet.errors import UserError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.removeprefix('argument ')} (--help explains)")


def add_cfg_options(parser: argparse.ArgumentParser, what: str = "change entries of the config") -> None:
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help=f"{what}, e.g. train_dataloader.batch_size=4 key=[a,b] key=None; no spaces",
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none", help="what starts the ranks"
    )
    # Launchers of different torch versions spell this differently; torchrun sets LOCAL_RANK instead.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def add_work_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work-dir", help="folder for logs and results (default: work_dirs/<name of the config>)")


def positive_int(text: str) -> int:
    """The type of an argument that counts something; 1e6 is a way to write it."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if value < 1 or not value.is_integer():
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number of at least 1")
    return int(value)


def score(text: str) -> float:
    """The type of an argument that detections are held against; NaN is none."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a score in [0, 1]")
    return value


def require_pickle_target(out: str) -> None:
    """Raises UserError unless a pickle file can be written to `out`."""
    path = Path(out).expanduser().absolute()
    if path.suffix not in (".pkl", ".pickle"):
        raise UserError(f"--out writes a pickle file: its name must end in .pkl or .pickle, got {out!r}.")
    folder = next(parent for parent in path.parents if parent.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"--out cannot be written: {path}")
