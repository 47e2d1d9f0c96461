"""SIGINT and SIGTERM during a run: one line, and the exit code that a shell gives such an end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ghm_mmdet.errors import Interrupted

SIGNALS = signal.SIGINT, signal.SIGTERM


class _Stop:
    """Handler that raises `Interrupted` in the process that installed it, and ends every other."""

    def __init__(self, what_is_there: Callable[[], str]) -> None:
        self.what_is_there = what_is_there
        self.owner = os.getpid()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self.owner:
            # The signal came right after the fork.
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        # Launchers and terminals both send one; the second must not break into the end of the first.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted(signum, f"stopped by {signal.Signals(signum).name}. {self.what_is_there()}")


def _leave_signals_to_the_system() -> None:
    """Lets a forked child die of a signal at once.

    A handler in Python runs between two instructions. A worker of a pool that waits for a lock reaches no instruction,
    so that `Pool.terminate` (mmdet's VOC metric ends with it) would wait for the worker for ever.
    """
    for number in SIGNALS:
        if isinstance(signal.getsignal(number), _Stop):
            signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_leave_signals_to_the_system)


@contextmanager
def stopped_by_signals(what_is_there: Callable[[], str]) -> Iterator[None]:
    """Raises `Interrupted` inside the block when one of the signals comes, with a sentence on what is left behind."""
    stop = _Stop(what_is_there)
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is stop:
            for number, handler in before.items():
                signal.signal(number, handler)
