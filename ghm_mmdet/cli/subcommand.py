"""Another command of ours as a process, with its output in a file and the progress of a training on the screen."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ghm_mmdet.cli.environment import available_cpus
from ghm_mmdet.errors import UserError
from ghm_mmdet.json_lines import read_json_lines

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
# The losses of each training in a work_dir.
LOGGED = "*/vis_data/scalars.json"
# Without it glibc gives each feature map back to the kernel and asks for it again: a sixth of a training's time.
KEEP_MEMORY = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1"
# A small network gets slower with more threads than these.
MOST_THREADS = 4

console = Console(highlight=False, markup=False)


def run_subcommand(
    name: str,
    arguments: Sequence[object],
    log: Path,
    *,
    work_dir: Path | None = None,
    epochs: int = 0,
    iterations: int | None = None,
) -> None:
    """Runs ``ghm-mmdet NAME ARGUMENTS`` to its end.

    Args:
        name: of the command.
        arguments: as a shell would give them.
        log: file for all that it prints.
        work_dir: of a training, whose progress is shown.
        epochs: of that training.
        iterations: of that training in all, where they are known; the time left is then shown, too.

    Raises:
        UserError: it failed; the message repeats its own last words.
    """
    words = [name, *map(str, arguments)]
    log.parent.mkdir(parents=True, exist_ok=True)
    defaults = {"OMP_NUM_THREADS": str(min(available_cpus(), MOST_THREADS)), "GLIBC_TUNABLES": KEEP_MEMORY}
    environment = {**defaults, **os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), environment.get("PYTHONPATH")]))
    earlier = _logged_files(work_dir)
    with (
        log.open("w", encoding="utf-8") as file,
        _progress_shown() as show,
        subprocess.Popen(
            [sys.executable, "-m", "ghm_mmdet", *words], env=environment, stdout=file, stderr=subprocess.STDOUT
        ) as process,
    ):
        shown = _Shown(epochs, iterations)
        try:
            while process.poll() is None:
                time.sleep(0.1)
                shown.show_new(_logged_files(work_dir) - earlier, show)
            shown.show_new(_logged_files(work_dir) - earlier, show)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        written = log.read_text(encoding="utf-8", errors="replace").splitlines()
        reason = next((line for line in reversed(written) if line.startswith("error: ")), "".join(written[-1:]))
        raise UserError(
            f"{name} failed: {reason.removeprefix('error: ')}\n"
            f"It was started as `{shlex.join(['ghm-mmdet', *words])}`, its output is in {log}"
        )


def _logged_files(work_dir: Path | None) -> set[Path]:
    return set(work_dir.glob(LOGGED)) if work_dir else set()


@contextlib.contextmanager
def _progress_shown() -> Iterator[Callable[[float, str], None]]:
    """Yields a function for the share that is done and a word on it: a bar on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield lambda share, note: console.print(f"      {note}", soft_wrap=True)
        return
    columns = (TextColumn("     "), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda share, note: bar.update(task, completed=share, description=note)


class _Shown:
    """What of a training's log has been shown."""

    def __init__(self, epochs: int, iterations: int | None):
        self.epochs = epochs
        self.iterations = iterations
        self.entries = 0
        self.first: tuple[int, float] | None = None

    def show_new(self, files: set[Path], show: Callable[[float, str], None]) -> None:
        logged = [entry for file in files for entry in read_json_lines(file)[0].values() if "loss" in entry]
        for entry in logged[self.entries :]:
            note = f"epoch {entry['epoch']}/{self.epochs}, iteration {entry['step']}, loss {entry['loss']:.2f}"
            share = (entry["epoch"] - 1) / self.epochs
            if self.iterations:
                share = entry["step"] / self.iterations
                note += self._time_left(entry["step"])
            show(share, note)
        self.entries = len(logged)

    def _time_left(self, step: int) -> str:
        """From what the iterations since the first entry took; nothing at that entry."""
        if self.first is None:
            self.first = (step, time.monotonic())
        since, start = self.first
        if step == since or not self.iterations:
            return ""
        seconds = (time.monotonic() - start) / (step - since) * (self.iterations - step)
        return f", {seconds / 60:.0f} min left" if seconds >= 90 else f", {max(seconds, 0):.0f} s left"
