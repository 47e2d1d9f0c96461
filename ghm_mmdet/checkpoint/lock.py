"""One training at a time in a work_dir."""

from __future__ import annotations

import fcntl
import os
import platform
from pathlib import Path
from typing import TextIO

from ghm_mmdet.errors import UserError

# Closing a file would give its lock back.
_held: list[TextIO] = []


def lock_work_dir(work_dir: str) -> None:
    """Holds the folder until this process ends; a second training would overwrite checkpoints of the first.

    The lock is the kernel's, so that it ends with its process, however that ends, and is not left to the workers of a
    killed one. A file system without locks has none to give.

    Raises:
        UserError: another process holds it.
    """
    path = Path(work_dir) / ".training.lock"
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise UserError(
            f"another training ({holder}) writes to the work_dir {Path(work_dir).absolute()}\n"
            "Wait for it to end, or choose another folder: --work-dir PATH"
        ) from error
    except OSError:
        file.close()
        return
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    _held.append(file)


def remove_partial_files(work_dir: Path) -> None:
    """Removes what kills have left of checkpoints that were being written."""
    for path in work_dir.glob(".*.pth.part"):
        path.unlink(missing_ok=True)
