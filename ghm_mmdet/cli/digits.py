"""Make the digits data set: scenes of handwritten digits, offline, 10 seconds for the default 1,300 on 2 cores.

The same options give the same bytes. When the folder holds exactly this data nothing is done; a folder that holds
anything else is never touched.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ghm_mmdet.cli.environment import available_cpus
from ghm_mmdet.digits.annotation_formats import FORMATS
from ghm_mmdet.digits.folder import DigitsFolder, FolderError
from ghm_mmdet.digits.scenes import OTHER_DIGITS, SPLITS, OptionError, SceneOptions
from ghm_mmdet.errors import UserError


def image_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    try:
        return int(width), int(height or width)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected W or WxH in pixels, e.g. 160 or 192x160") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = SceneOptions()
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--out", type=Path, default=Path("data/digits"), help="folder to make")
    parser.add_argument("--format", choices=list(FORMATS), default="coco", help="annotation format")
    for split, count in zip(SPLITS, (1000, 100, 200)):
        parser.add_argument(f"--num-{split}", type=int, default=count, metavar="N", help=f"{split} images")
    parser.add_argument(
        "--image-size", type=image_size, default=default.image_size, metavar="W[xH]", help="pixels of an image"
    )
    for name, meaning in (
        ("objects-per-image", "digits of a scene"),
        ("clutter-per-image", "negatives of a scene: cut-up digits, curves"),
        ("object-size", "pixels of a digit's height"),
    ):
        value = getattr(default, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=int, nargs=2, default=value, metavar=("MIN", "MAX"), help=meaning)
    parser.add_argument(
        "--num-classes", type=int, default=default.num_classes, metavar="K", help="the first K digits are objects"
    )
    parser.add_argument(
        "--other-digits", choices=OTHER_DIGITS, default=default.other_digits, help="the digits that are no objects"
    )
    for name, meaning in (
        ("mislabelled", "share of the training boxes with another class"),
        ("jittered", "share of the training boxes at a wrong place"),
        ("missing", "share of the training objects without a box"),
    ):
        parser.add_argument(f"--{name}", type=float, default=getattr(default, name), metavar="SHARE", help=meaning)
    parser.add_argument("--seed", type=int, default=default.seed, help="decides all that is random")
    parser.add_argument("--workers", type=int, default=available_cpus(), metavar="N", help="processes")


def wanted_folder(args: argparse.Namespace) -> DigitsFolder:
    given: dict[str, Any] = {field.name: getattr(args, field.name) for field in fields(SceneOptions)}
    # A range comes as a list.
    given.update({name: tuple(value) for name, value in given.items() if isinstance(value, list)})
    options = SceneOptions(**given)
    return DigitsFolder(args.out, args.format, {split: getattr(args, f"num_{split}") for split in SPLITS}, options)


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Yields a function to call for each scene that is done: a bar on a terminal, else a line for each quarter."""
    console = Console()
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda split: bar.update(task, advance=1, description=f"drawing {split} scenes")
        return
    done = 0

    def count(split: str) -> None:
        nonlocal done
        done += 1
        if done * 4 // total > (done - 1) * 4 // total:
            print(f"{done}/{total} scenes drawn ({split})", flush=True)

    yield count


def run(args: argparse.Namespace) -> None:
    # So that a run that is terminated removes what it has written, as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        folder = wanted_folder(args)
        made = folder.is_made()
        if not made:
            with progress(sum(folder.num_images.values())) as count:
                folder.make(args.workers, count)
    except OptionError as error:
        raise UserError(f"--{error.option.replace('_', '-')}: got {error.value}, expected {error.expected}") from error
    except FolderError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"cannot write {args.out}: {error.strerror}") from error
    except KeyboardInterrupt:
        print("interrupted, nothing was written", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    content = ", ".join(f"{count} {split}" for split, count in folder.num_images.items() if count)
    print(f"{args.out} {'was already made:' if made else 'made:'} {content} scenes in {args.format.upper()} format")
