"""What mmengine does again and again with the same outcome is done once in a process of the tests."""

from __future__ import annotations

import functools
from typing import Any

from mmengine.config import config
from mmengine.config import utils as config_utils


def remember() -> None:
    """Files of mmdet's index, a hundred for every base in mmdet; a config's formatted text, six times in a training."""
    format_code = config.FormatCode

    @functools.cache
    def formatted(text: str, style: tuple, options: tuple) -> Any:
        return format_code(text, style_config=dict(style), **dict(options))

    def remembered(text: str, style_config: dict, **options: Any) -> Any:
        return formatted(text, tuple(style_config.items()), tuple(options.items()))

    config.FormatCode = remembered
    config_utils.load = functools.cache(config_utils.load)
