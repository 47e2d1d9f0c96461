"""The GHM losses as modules that need torch alone; :mod:`ghm_mmdet.losses` registers them for mmdet's configs."""

from .ghm_c import GHMC
from .ghm_r import GHMR

__all__ = ["GHMC", "GHMR"]
