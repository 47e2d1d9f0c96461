"""Time of interleaved runs and peak memory, on a CPU and a GPU alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def interleaved_seconds(
    runs: dict[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    progress: Callable[[], None],
    clock: str = "wall",
) -> dict[str, list[float]]:
    """Seconds of each run in each round; every round runs all of them, so that a slow phase of the machine hits all.

    Each run goes once untimed first. On a GPU the device's own events measure, with the host ahead of it as in a
    training, so that launching kernels costs no time; a run that waits for the device has to. On a CPU ``clock`` is a
    name in ``CLOCKS``: the processor time is what a busy machine disturbs less.
    """
    for run in runs.values():
        run()
        progress()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(_seconds(run, device, clock))
            progress()
    return seconds


def _seconds(run: Callable[[], object], device: torch.device, clock: str) -> float:
    if device.type != "cuda":
        began = CLOCKS[clock]()
        run()
        return CLOCKS[clock]() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(20_000_000)  # Cycles, about 10 ms.
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000


def peak_extra_bytes(run: Callable[[], object], device: torch.device) -> int:
    """The most memory that tensors made during the run take up at one time."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    # profile.events() folds most of these into the operators that caused them, and the order in time is lost.
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    taken = peak = 0
    for event in changes:
        taken += event.nbytes()
        peak = max(peak, taken)
    return peak


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    lower, median, upper = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
    return {"median": median, "lower_quartile": lower, "upper_quartile": upper}
