"""Whole training iterations of several configs in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner, set_random_seed

from ghm_mmdet.experiments.benchmark.measure import interleaved_seconds, spread


@dataclass(frozen=True)
class StepRow:
    """Seconds of one training iteration of a config; ``ratio`` is the median of the rounds' ratios to the first."""

    config: str
    median: float
    lower_quartile: float
    upper_quartile: float
    ratio: float

    def as_dict(self) -> dict:
        return asdict(self)


def training_step(cfg: Config, batches: int, device: torch.device) -> Callable[[], object]:
    """A function that runs one iteration, forward, backward and optimiser, on the config's own first batches in turn.

    Loading is done beforehand: it is the same for all losses, and runs beside the training in other processes.
    """
    # Weights do not change how long an iteration takes, and pretrained ones may need a download.
    cfg.model.backbone.init_cfg = None
    set_random_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(device).train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    loader = cfg.train_dataloader
    loader.update(num_workers=0, persistent_workers=False)
    found = []
    for batch in Runner.build_dataloader(loader, seed=0):
        found.append(batch)
        if len(found) == batches:
            break
    turn = 0

    def step() -> None:
        nonlocal turn
        model.train_step(found[turn % len(found)], optim_wrapper)
        turn += 1

    return step


def measure_steps(
    steps: dict[str, Callable[[], object]], rounds: int, device: torch.device, progress: Callable[[], None]
) -> list[StepRow]:
    """Time the steps in turn; the first config is what the ratios are to."""
    seconds = interleaved_seconds(steps, rounds, device, progress)
    base = next(iter(seconds.values()))
    rows = []
    for config, times in seconds.items():
        ratio = spread([time / other for time, other in zip(times, base)])["median"]
        rows.append(StepRow(config, **spread(times), ratio=ratio))
    return rows
