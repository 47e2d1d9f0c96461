"""The registered losses: they keep arguments and state, and call :mod:`ghm_mmdet.functional` with mmdet's signature."""

from ghm_mmdet.losses.ghm_c import GHMC
from ghm_mmdet.losses.ghm_r import GHMR

__all__ = ["GHMC", "GHMR"]
