"""A function compiled by torch.compile, or as it is where that cannot be."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from ghm_mmdet.functional import cpu_kernel


@functools.cache
def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function`` as one graph that takes inputs of any size.

    Where the graph cannot be made, for want of a C++ compiler or Triton above all, a warning says so once, and from
    then on ``function`` runs as it is.
    """
    graph = torch.compile(function, fullgraph=True, dynamic=True)
    broken = False

    @functools.wraps(function)
    def run(*args, **kwargs) -> Tensor:
        nonlocal broken
        if broken:
            return function(*args, **kwargs)
        try:
            if args[0].device.type == "cpu":
                cpu_kernel.load()
            return graph(*args, **kwargs)
        except (cpu_kernel.KernelError, torch._dynamo.exc.TorchDynamoException) as error:
            # An error in the arguments shows here too: then the function itself raises it, and the graph is not broken.
            result = function(*args, **kwargs)
            broken = True
            reason = str(error).strip().splitlines()[0]
            warnings.warn(f"compile=True has no effect, {function.__name__} runs uncompiled: {reason}", stacklevel=2)
            return result

    return run
