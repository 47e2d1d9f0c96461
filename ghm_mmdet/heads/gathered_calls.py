"""One loss over the levels of a feature pyramid, of a head that calls it once for each."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def gathered_calls(loss: nn.Module, number: int, num_images: int) -> Iterator[None]:
    """While it lasts, a loss waits for ``number`` calls and is then computed once, over the elements of all of them.

    The last call returns it, the others 0. The elements are put in the order of the images.

    Args:
        loss: is called with tensors whose first dimension is that of the elements, image by image, or tuples of such;
            whatever else it gets must be the same in each call.
        number: of the calls, as a rule one for each level.
        num_images: of the batch.

    Raises:
        TypeError: it was called another number of times, though at all, or with something else that changes.
    """
    calls: list[tuple[tuple, dict]] = []
    # That of the module, or of whoever counts its calls, as ghm_mmdet.prior does.
    before = vars(loss).get("forward")
    forward = loss.forward

    # Whoever watches the calls reads from its signature which argument is which.
    @functools.wraps(forward)
    def gather(*args: Any, **kwargs: Any) -> Tensor:
        calls.append((args, kwargs))
        if len(calls) < number:
            return args[0].new_zeros(())
        merged = [_merged(values, num_images) for values in zip(*(args for args, _ in calls))]
        return forward(*merged, **{name: _merged([kw[name] for _, kw in calls], num_images) for name in kwargs})

    loss.forward = gather
    try:
        yield
    finally:
        del loss.forward
        if before is not None:
            loss.forward = before
    if calls and len(calls) != number:
        raise TypeError(f"{type(loss).__name__} was called {len(calls)} times for {number} levels")


def _merged(values: Sequence, num_images: int) -> Any:
    first = values[0]
    if isinstance(first, tuple):
        return tuple(_merged(parts, num_images) for parts in zip(*values))
    if isinstance(first, Tensor) and first.dim():
        by_image = [value.reshape(num_images, -1, *value.shape[1:]) for value in values]
        return torch.cat(by_image, dim=1).flatten(0, 1)
    if any(value is not first and value != first for value in values):
        raise TypeError(f"the levels call their loss with {values}, which is not the same for all")
    return first
