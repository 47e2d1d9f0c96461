"""The wheel, in a clean environment without the repository, trains with the config that it carries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from docs.snippets import REPO
from tools.running import environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by way of the source archive, as `make build` does, from a copy without what git does not know."""
    copy = tmp_path_factory.mktemp("source") / "ghm_mmdet"
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(git, cwd=REPO, capture_output=True, text=True, check=True).stdout.splitlines():
        if (REPO / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO / name, copy / name)
    # Without isolation there is nothing to download.
    command = [sys.executable, "-m", "build", "--no-isolation", str(copy)]
    done = subprocess.run(command, cwd=copy, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment that sees torch and OpenMMLab's packages where they are installed, but not this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    # A .pth file adds the folder, and does not read the .pth files in it, so that the editable install stays out.
    (packages / "stack.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    pip = [sys.executable, "-m", "pip", f"--python={python}", "install", "-q", "--no-deps", "--ignore-installed"]
    subprocess.run([*pip, "--no-index", str(wheel)], check=True, timeout=300)
    return python


def run(python: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    kept = {key: value for key, value in environment().items() if key not in ("PYTHONPATH", "DIGITS_ROOT")}
    command = [str(python), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, timeout=500)


def test_it_carries_every_config_and_tool(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("configs", "tools"):
        for path in (REPO / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.name != "setup_env.sh":
                assert f"ghm_mmdet/.mim/{path.relative_to(REPO)}" in names
    assert "ghm_mmdet/.mim/model-index.yml" in names
    files = [path for path in (REPO / "ghm_mmdet").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {str(path.relative_to(REPO)) for path in files} <= names
    # Nothing else at the top, no tests above all.
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"ghm_mmdet"}


def test_it_trains_and_tests_an_epoch(python: Path, tmp_path: Path) -> None:
    place = run(python, tmp_path, "-c", "import ghm_mmdet; print(ghm_mmdet.__file__)")
    assert str(python.parent.parent) in place.stdout and str(REPO) not in place.stdout

    listing = run(python, tmp_path, "-m", "ghm_mmdet")
    assert "\n  train " in listing.stdout and "\n  gradients " in listing.stdout
    assert str(python.parent.parent) in listing.stdout

    made = run(python, tmp_path, "-m", "ghm_mmdet", "digits", "--num-train", 16, "--num-val", 4, "--num-test", 4)
    assert made.returncode == 0, made.stderr
    options = ["--cfg-options", "train_cfg.max_epochs=1", "train_cfg.val_interval=1", "default_hooks.logger.interval=1"]
    config = "configs/retinanet_ghm_digits.py"
    trained = run(python, tmp_path, "-m", "ghm_mmdet", "train", config, *options)
    assert trained.returncode == 0, trained.stderr
    assert "Epoch(train) [1][2/2]" in trained.stdout
    # The config, which names the losses, goes to the log file alone.
    (log,) = (tmp_path / "work_dirs" / "retinanet_ghm_digits").glob("*/*.log")
    assert "ghm_mmdet.GHMC" in log.read_text()
    checkpoint = tmp_path / "work_dirs" / "retinanet_ghm_digits" / "epoch_1.pth"
    tested = run(python, tmp_path, "-m", "ghm_mmdet", "test", config, checkpoint)
    assert tested.returncode == 0, tested.stderr


def test_an_unknown_command_is_a_plain_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ghm_mmdet", "trian"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: no command is named 'trian', there are start, train, test, ")
    assert len(done.stderr.splitlines()) == 1
