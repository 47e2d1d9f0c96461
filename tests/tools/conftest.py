"""Fixtures of the tools' tests: one trained run, and a check that a failure is plain and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tools.running import CONFIG, Shapes, assert_plain, call_tool, start_tool, write_shapes


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """What a tool writes into the environment of this process ends with the test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def fails(capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a tool's main() in this process and asserts a plain error and that nothing was written."""
    monkeypatch.chdir(tmp_path)

    def run(tool: str, arguments: list[object], *expected: str) -> None:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as stop:
            call_tool(tool, [str(argument) for argument in arguments])
        assert_plain(stop.value.code, capsys.readouterr().err, *expected)
        assert sorted(tmp_path.rglob("*")) == before, "a failed preflight wrote something"

    return run


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    """Trained once, through tools/train.py from another folder, by all tests that need a checkpoint."""
    root = tmp_path_factory.mktemp("shapes")
    write_shapes(root / "data")
    config = root / "shapes_retinanet.py"
    config.write_text(CONFIG.format(data=root / "data"))
    done = start_tool("train.py", config, "--work-dir", root / "run", cwd=root)
    assert done.returncode == 0, done.stderr
    (root / "run" / "stdout.txt").write_text(done.stdout + done.stderr)
    return Shapes(root / "data", config, root / "run")
