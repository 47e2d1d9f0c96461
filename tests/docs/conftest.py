"""What the tests of the pages share: the sandbox, made once, and mmdet's index, read once."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs.sandbox import make_sandbox


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sandbox(tmp_path_factory.mktemp("clone"))


@pytest.fixture(autouse=True, scope="module")
def index_read_once_for_pages(index_read_once: None) -> None:
    pass
