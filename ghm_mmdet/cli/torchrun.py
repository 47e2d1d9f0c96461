"""torchrun for the tools: `python -m ghm_mmdet.cli.torchrun [torchrun arguments] SCRIPT [arguments]`.

A rank that ends for a known reason leaves its message here, and it is shown when all ranks have ended. torchrun alone
would bury it under the other ranks' lost connections and a traceback of its own, and answer with exit code 1.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from pathlib import Path

from torch.distributed import DistNetworkError
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

from ghm_mmdet.errors import EXIT_CODE, LAUNCHER_VARIABLE


def run(arguments: list[str]) -> int:
    """Returns the exit code."""
    # What torchrun logs about a failed rank, and torch's C++ about a lost connection, is told in one line below.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ[LAUNCHER_VARIABLE] = folder
        try:
            main(arguments)
            return 0
        except SignalException as error:
            # The first rank has said what is left.
            return 128 + int(error.sigval)
        except DistNetworkError as error:
            message, code = _network(str(error)), EXIT_CODE
        except ChildFailedError as error:
            message, code = _failure(error, Path(folder))
    print(f"error: {message}", file=sys.stderr, flush=True)
    return code


def _network(text: str) -> str:
    port = re.search(r"port: (\d+)", text)
    if "EADDRINUSE" in text or "address already in use" in text.lower():
        number = port[1] if port else ""
        return f"the port {number} is in use on this machine.\nTake another: PORT=29511 before the command"
    reason = text.splitlines()[0]
    return f"the ranks cannot reach each other: {reason}\nAre MASTER_ADDR and PORT those of the first machine?"


def _failure(error: ChildFailedError, folder: Path) -> tuple[str, int]:
    """What the rank that failed first has to say, and the exit code."""
    said = [path.read_text("utf-8") for path in sorted(folder.glob("error_*"))]
    if said:
        return said[0], EXIT_CODE
    # The agent ends the other ranks by SIGTERM.
    killed = {rank: end.signal_name() for rank, end in error.failures.items() if end.exitcode < 0}
    for rank, name in killed.items():
        if name != "SIGTERM":
            hint = ", as the kernel does when memory runs out" if name == "SIGKILL" else ""
            return f"rank {rank} was ended by {name}{hint}.\nGo on from the newest checkpoint with --resume.", EXIT_CODE
    return "a rank has failed; its traceback is above, or on its own machine.", 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
