import os
import signal

import pytest

from ghm_mmdet.cli.signals import SIGNALS, stopped_by_signals
from ghm_mmdet.errors import Interrupted


def handlers_in_a_child() -> str:
    """What a forked child has for the signals."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, " ".join(str(signal.getsignal(number)) for number in SIGNALS).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as file:
        return file.read()


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_raises_what_is_left_behind(signum):
    before = [signal.getsignal(number) for number in SIGNALS]
    message = rf"stopped by {signum.name}\. epoch_3\.pth"
    with pytest.raises(Interrupted, match=message), stopped_by_signals(lambda: "epoch_3.pth"):
        os.kill(os.getpid(), signum)
        signal.pause()
    # The process ends now; neither signal may break into its end.
    assert [signal.getsignal(number) for number in SIGNALS] == [signal.SIG_IGN, signal.SIG_IGN]
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


def test_forked_workers_die_of_a_signal_at_once():
    """mmdet's VOC metric hung in `Pool.terminate`: workers that wait for a lock never came to a handler in Python."""
    outside = handlers_in_a_child()
    with stopped_by_signals(lambda: ""):
        assert handlers_in_a_child() == f"{signal.SIG_DFL!s} {signal.SIG_DFL!s}"
    assert handlers_in_a_child() == outside
