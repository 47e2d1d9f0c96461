"""Heads with a loss made for them alone give it arguments that no other loss knows; said in words."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

import torch
from torch import nn

from ghm_mmdet.errors import UserError


def refuse_unknown_arguments(loss: nn.Module) -> None:
    """Has each call of the loss raise UserError for a keyword argument that its ``forward`` does not have."""
    loss.register_forward_pre_hook(_refuse, with_kwargs=True)


def _refuse(loss: nn.Module, args: tuple, kwargs: dict) -> None:
    if torch.compiler.is_compiling():
        return
    unknown = sorted(kwargs.keys() - _arguments(type(loss).forward))
    if unknown:
        raise UserError(
            f"{type(loss).__name__} is given {', '.join(unknown)}, which it has no use for: the head computes with a "
            "loss made for it alone. Keep the head's own."
        )


@functools.cache
def _arguments(forward: Callable) -> frozenset[str]:
    return frozenset(inspect.signature(forward).parameters)
