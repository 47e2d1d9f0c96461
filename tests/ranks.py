"""Real gloo ranks for tests: a test file is run as a script once for each rank."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed

REPO = Path(__file__).resolve().parents[1]


def run_ranks(script: str, ranks: int, folder: Path, python: str | Path = sys.executable) -> list:
    """Runs `script` as `ranks` processes, and returns what the `rank_main` of each has saved."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(REPO), str(REPO / "tests")])}
    commands = [[python, script, str(rank), str(ranks), str(folder)] for rank in range(ranks)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) for command in commands]
    errors = [process.communicate()[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def rank_main(run: Callable[[int, int], object]) -> None:
    """What the script does as a rank: meets the others, and saves what `run(rank, ranks)` returns."""
    rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=ranks)
    torch.save(run(rank, ranks), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
