"""Generators of random numbers for tests."""

from __future__ import annotations

import torch


def seeded(seed: int) -> torch.Generator:
    """On the device that torch makes tensors on, see --device."""
    return torch.Generator(torch.get_default_device()).manual_seed(seed)
