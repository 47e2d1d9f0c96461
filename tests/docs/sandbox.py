"""A folder like a clone in which `make demo` has run, with fewer scenes and epochs, for the commands of the pages."""

from __future__ import annotations

from pathlib import Path

from docs.snippets import REPO
from tools.running import run_tool

CONFIG = "configs/retinanet_ghm_digits.py"
CHECKPOINT = Path("work_dirs/retinanet_ghm_digits/epoch_14.pth")
# What is appended to a command so that it takes seconds in place of minutes.
FEWER = {
    "make_digits.py": ["--num-train", "16", "--num-val", "8", "--num-test", "8"],
    "train.py": ["--cfg-options", "train_cfg.max_epochs=1"],
}


def make_sandbox(folder: Path) -> Path:
    for name in ("configs", "tools"):
        (folder / name).symlink_to(REPO / name)
    done = run_tool("make_digits.py", *FEWER["make_digits.py"], cwd=folder)
    assert done.returncode == 0, done.stderr
    done = run_tool("train.py", CONFIG, *FEWER["train.py"], cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / CHECKPOINT.with_name("epoch_1.pth")).rename(folder / CHECKPOINT)
    return folder
