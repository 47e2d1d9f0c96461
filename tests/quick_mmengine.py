"""What takes most of a small training, and is no part of it, is done once in a process of the tests, or left out."""

from __future__ import annotations

import functools
from typing import Any

from mmengine.config import config
from mmengine.config import utils as config_utils


def make_quick() -> None:
    """mmengine looks for mmdet and reads its index, a hundred files, for every base in mmdet: once is enough.

    It lays out the text of a config with yapf four times in a training. Here the text is compiled as it is; real
    processes of the tests write it laid out.
    """
    config.is_installed = functools.cache(config.is_installed)
    config_utils.load = functools.cache(config_utils.load)
    config.FormatCode = leave_layout


def leave_layout(text: str, **_: Any) -> tuple[str, bool]:
    compile(text, "config", "exec")
    return text, False
