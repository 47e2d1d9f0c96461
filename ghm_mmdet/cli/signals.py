"""SIGINT and SIGTERM during a run: one line, and the exit code that a shell gives such an end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ghm_mmdet.errors import Interrupted


@contextmanager
def stopped_by_signals(what_is_there: Callable[[], str]) -> Iterator[None]:
    """Raises `Interrupted` inside the block when one of the signals comes, with a sentence on what is left behind."""
    owner = os.getpid()
    signals = signal.SIGINT, signal.SIGTERM

    def stop(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            # A worker of a DataLoader, forked from here.
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        # Launchers and terminals both send one; the second must not break into the end of the first.
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted(signum, f"stopped by {signal.Signals(signum).name}. {what_is_there()}")

    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is stop:
            for number, handler in before.items():
                signal.signal(number, handler)
