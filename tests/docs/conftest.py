"""What the tests of the pages share: the sandbox, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs.sandbox import make_sandbox


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sandbox(tmp_path_factory.mktemp("clone"))
