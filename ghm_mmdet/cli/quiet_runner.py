"""mmengine's Runner, with what is in its log file anyway left out of the terminal."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner

# The environment, the config of hundreds of lines and the table of hooks come before the first loss.
LEFT_TO_THE_FILE = ("Config:\n", "Hooks will be executed in the following order:\n", "\n-----")


def _is_for_the_terminal(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(LEFT_TO_THE_FILE)


class QuietRunner(Runner):
    """Logs all to the file, and to the terminal what a person at it needs."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_for_the_terminal)
        logger.info(f"Config, environment and all that follows are in {self.log_dir}.")
        return logger
