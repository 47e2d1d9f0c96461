"""The registered hooks."""

from ghm_mmdet.hooks.finite_loss_hook import FiniteLossHook
from ghm_mmdet.hooks.optimal_bias_init_hook import OptimalBiasInitHook

__all__ = ["FiniteLossHook", "OptimalBiasInitHook"]
