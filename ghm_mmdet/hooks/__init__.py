"""The registered hooks."""

from ghm_mmdet.hooks.finite_loss_hook import FiniteLossHook
from ghm_mmdet.hooks.gradient_norm_hook import GradientNormHook
from ghm_mmdet.hooks.ground_truth_ids_hook import GroundTruthIdsHook
from ghm_mmdet.hooks.optimal_bias_init_hook import OptimalBiasInitHook

__all__ = ["FiniteLossHook", "GradientNormHook", "GroundTruthIdsHook", "OptimalBiasInitHook"]
