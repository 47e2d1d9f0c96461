"""Errors for the person at the command line: one or two plain lines on stderr and exit code 2, no traceback."""

from __future__ import annotations

import difflib
import errno
import linecache
import os
import re
import signal
import stat
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_CODE = 2


class UserError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do."""


class Interrupted(KeyboardInterrupt):
    """A signal that ends the process; the message says what is left behind."""

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum


class RefusedCheckpointError(UserError):
    """A checkpoint that asks for more than data, so none of it is used."""


class IncompleteCheckpointError(UserError):
    """A file that is not a whole checkpoint: cut off, empty, or of another kind."""


def require_file(path: str, what: str) -> None:
    """Raises UserError unless `path` is a file or an address that a loader resolves later (`scheme://...`)."""
    if "://" in path or Path(path).expanduser().is_file():
        return
    where = Path(path).expanduser().absolute()
    other = other_than_file(where)
    raise UserError(f"{what} is {other}, a file is expected: {where}" if other else f"{what} not found: {where}")


def other_than_file(path: str | Path) -> str:
    """What is at the path in place of a file, in words; empty for a file, and where there is nothing.

    Opening a pipe waits for its writer, for ever where there is none.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        # A name with a null character is a ValueError.
        return ""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kinds |= {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return kinds.get(stat.S_IFMT(mode), "")


def _is_first_of_machine() -> bool:
    rank = os.environ.get("LOCAL_RANK", "0")
    # What is no number will be refused, and somebody must say so.
    return not rank.isdecimal() or int(rank) == 0


def print_notice(text: str) -> None:
    """Prints one line to stderr, on the first rank of each node."""
    if _is_first_of_machine():
        print(text, file=sys.stderr, flush=True)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known name that is spelt most like this one, as a question; empty where none is close."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return f"Did you mean {close[0]!r}?" if close else ""


def described(error: BaseException) -> str:
    """The class and text of an error; of one without a text the line of code that raised it."""
    text = str(error).strip()
    for frame, number in () if text else traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        line = linecache.getline(frame.f_code.co_filename, number).strip()
        text = f"{line}, in {frame.f_code.co_name if owner is None else type(owner).__name__}"
    return f"{type(error).__name__}: {text}"


def in_words(error: Exception) -> str:
    """Plain words where the cause is known, else the error as it is."""
    return explain(error) or described(error)


def explain(error: Exception) -> str | None:
    """Plain words for the errors of the stack below that have a known cause outside the code, else None."""
    text = str(error)
    unknown_type = re.search(r"(\S+) is not in the (\S.*?) registry", text)
    if isinstance(error, KeyError) and unknown_type:
        name, registry = unknown_type[1].strip("'\""), unknown_type[2]
        return f"unknown type {name!r} in the config: the registry {registry} has no such entry.\n" + TYPE_HINT
    # From a DataLoader worker the text quotes the line of code first, and the message last.
    unreadable_image = re.findall(r"failed to load image: (\S.*)", text)
    if unreadable_image:
        return f"cannot decode the image {unreadable_image[-1]}\nReplace the file or take it out of the annotations."
    if "!buf.empty()" in text and "imdecode" in text:
        return "an image file is empty\npython tools/check_dataset.py CONFIG names it."
    in_hook = re.fullmatch(r"(.*unexpected keyword argument .*) in <([\w.]+) object at \w+>", text)
    if in_hook:
        return f"the hook {in_hook[2].rpartition('.')[2]}: {in_hook[1]}"
    if "Expected more than 1 value per channel" in text:
        return (
            "batch normalisation has a single value per channel in training\nTake a larger batch_size or larger images."
        )
    if "insufficient shared memory" in text or "file </torch_" in text:
        return (
            "the shared memory (/dev/shm) is full\n"
            "Enlarge it, or load without workers: num_workers=0 and persistent_workers=False in every dataloader."
        )
    lost = _LOST_RANK.search(text)
    if lost and _is_distributed():
        return f"another rank has ended ({lost[0]})\nIts own message says why."
    if isinstance(error, OSError):
        # An error from a DataLoader worker arrives as text only.
        in_worker = re.search(r"\[Errno \d+\] (.+?): '(.+?)'", text)
        if error.filename is not None:
            return f"{error.strerror}: {os.path.abspath(os.fsdecode(error.filename))}"
        if in_worker:
            return f"{in_worker[1]}: {os.path.abspath(in_worker[2])}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{error.strerror}\nMake room where the results and the temporary files (TMPDIR) go."
    return None


_LOST_RANK = re.compile(r"Connection (closed|reset) by peer|Broken pipe|remote process exited|recvValue failed")
TYPE_HINT = "Check the spelling; types of this package are written 'ghm_mmdet.Name', those of mmdet have no prefix."


def _is_distributed() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()


@contextmanager
def plain_errors() -> Iterator[None]:
    """Ends the process with exit code 2 and a plain message on a `UserError` or an error that `explain` knows.

    A signal ends it with a plain line and the shell's exit code for it. Everything else is a bug and keeps its
    traceback.
    """
    try:
        yield
        return
    except KeyboardInterrupt as error:
        signum = getattr(error, "signum", signal.SIGINT)
        message, code = str(error) or f"stopped by {signal.Signals(signum).name}.", 128 + signum
        print_notice(message)
        sys.exit(code)
    except UserError as error:
        message = str(error)
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        message = explained
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    if launcher:
        # ghm_mmdet.cli.torchrun shows it when all ranks have ended, so that none of them writes below it.
        lost = message.startswith("another rank")
        Path(launcher, f"{'lost' if lost else 'error'}_{os.environ.get('RANK', 0)}").write_text(message, "utf-8")
    # Before the ranks have met, they all fail alike and one of them speaks; afterwards a failure is one rank's own.
    elif _is_distributed() or _is_first_of_machine():
        print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(EXIT_CODE)


# Names the folder where ranks leave their error for the launcher.
LAUNCHER_VARIABLE = "GHM_MMDET_LAUNCHER"
