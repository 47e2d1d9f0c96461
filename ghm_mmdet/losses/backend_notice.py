"""One line in the log of a training that says which operators it runs on."""

from __future__ import annotations

import functools

from mmengine.device import get_device
from mmengine.logging import MMLogger, print_log

from ghm_mmdet import ops

_WORDS = {
    "reference": "plain torch; what `python -m ghm_mmdet.ops build` makes for a CPU, or Triton with a C compiler for a "
    "GPU, is several times faster",
    "cpu": "C++",
    "triton": "Triton",
}


class BackendNotice:
    """Has a GHM loss that is built by a Runner say so, once in a process for each back end."""

    backend: str | None

    def _built(self) -> None:
        # A Runner makes a logger of its own before its model; without one there is no log to write into.
        if MMLogger.get_current_instance().instance_name != "mmengine":
            _log(self.backend or ops.backend_for(get_device()))


@functools.cache
def _log(backend: str) -> None:
    print_log(f"operators of the GHM losses: {_WORDS[backend]}", logger="current")
