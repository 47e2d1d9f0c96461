"""The numbers that a training logged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ghm_mmdet.json_lines import read_json_lines


@dataclass
class History:
    """Logged values by name, as (step, value) in the order of the steps.

    losses: by iteration, the sum "loss" first.
    metrics: of the validations, by epoch (by iteration where the loop counts iterations).
    """

    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


def read_history(work_dir: Path) -> History:
    """Reads the scalars.json of every training in the work_dir, the oldest first.

    A training that was resumed, or started again, replaces what earlier ones logged from its first step on. Lines that
    a kill cut off are left out, and so are folders of tests, which log no loss.
    """
    history = History()
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        entries = list(_entries(file))
        trained = [entry for entry in entries if "loss" in entry]
        if not trained:
            continue
        validated = [entry for entry in entries if any("/" in name for name in entry)]
        first_step = trained[0]["step"]
        # Validations count epochs, where the loop does.
        first_epoch = trained[0].get("epoch", first_step)
        for series, new, first in ((history.losses, trained, first_step), (history.metrics, validated, first_epoch)):
            for name in series:
                series[name] = [point for point in series[name] if point[0] < first]
            for entry in new:
                for name, value in entry.items():
                    if "loss" in name or "/" in name:
                        series.setdefault(name, []).append((entry["step"], value))
    if "loss" in history.losses:
        history.losses = {"loss": history.losses.pop("loss"), **history.losses}
    return history


def _entries(file: Path) -> Iterator[dict]:
    for entry in read_json_lines(file)[0].values():
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            yield {name: value for name, value in entry.items() if isinstance(value, (int, float))}
