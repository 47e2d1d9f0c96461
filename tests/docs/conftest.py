"""What the tests of the pages share: the sandbox, made once, and mmdet's index, read once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs.sandbox import make_sandbox
from mmengine.config import utils as config_utils


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sandbox(tmp_path_factory.mktemp("clone"))


@pytest.fixture(autouse=True, scope="module")
def index_read_once() -> Iterator[None]:
    """mmengine reads mmdet's hundred files of published models anew for every base in mmdet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_utils, "load", functools.cache(config_utils.load))
        yield
