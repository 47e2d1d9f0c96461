"""torchrun for the tools: `python -m ghm_mmdet.cli.torchrun [torchrun arguments] SCRIPT [arguments]`.

When a rank ends with the tools' own exit code, it has said why in plain lines; torchrun would bury them under a
traceback of its own and answer with exit code 1.
"""

from __future__ import annotations

import logging
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

from ghm_mmdet.errors import EXIT_CODE


def run(arguments: list[str]) -> int:
    # What it logs about a failed rank, the raised error repeats in full.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        main(arguments)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        if first.exitcode != EXIT_CODE:
            raise
        return EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
