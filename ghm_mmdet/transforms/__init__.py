"""Registered data transforms."""

from ghm_mmdet.transforms.damage_labels import DamageLabels

__all__ = ["DamageLabels"]
