"""Does the learning rate belong to the batch size?"""

from __future__ import annotations

from mmengine.config import Config
from mmengine.runner import Runner

from ghm_mmdet.errors import UserError


def enable_auto_scale(cfg: Config) -> None:
    """Turns on mmengine's linear scaling of the learning rate with the total batch."""
    if not (cfg.get("auto_scale_lr") or {}).get("base_batch_size"):
        raise UserError(
            f"--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) in the config: {cfg.filename}\n"
            "Set it to the batch the lr was chosen for: --cfg-options auto_scale_lr.base_batch_size=16"
        )
    cfg.auto_scale_lr.enable = True


def warn_about_batch_size(runner: Runner) -> None:
    """Logs one warning when the total batch is not the one that the learning rate was chosen for."""
    scaling = runner.cfg.get("auto_scale_lr") or {}
    base, per_rank = scaling.get("base_batch_size"), runner.cfg.train_dataloader.get("batch_size")
    if not base or not per_rank or scaling.get("enable") or base == per_rank * runner.world_size:
        return
    total = per_rank * runner.world_size
    lr = runner.cfg.optim_wrapper.get("optimizer", {}).get("lr")
    advice = f": lr would be {lr * total / base:g} in place of {lr:g}" if lr else ""
    runner.logger.warning(
        f"The total batch is {total} ({per_rank} per rank, {runner.world_size} ranks), the learning rate was chosen "
        f"for auto_scale_lr.base_batch_size={base}. --auto-scale-lr scales it{advice}."
    )
