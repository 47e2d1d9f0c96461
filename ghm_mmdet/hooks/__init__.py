"""The registered hooks."""

from ghm_mmdet.hooks.optimal_bias_init_hook import OptimalBiasInitHook

__all__ = ["OptimalBiasInitHook"]
