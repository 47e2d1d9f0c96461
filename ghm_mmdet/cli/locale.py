"""Text files are UTF-8, whatever the locale says."""

from __future__ import annotations

import locale
import os
import sys


def use_utf8() -> None:
    """Starts this process anew in Python's UTF-8 mode where the locale has another encoding.

    The stack below opens configs, annotations and logs in the locale's encoding, and only an environment that is set
    before Python starts changes that, for the workers of data loaders too.
    """
    if sys.flags.utf8_mode or locale.getpreferredencoding(False).lower().replace("-", "") == "utf8":
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
