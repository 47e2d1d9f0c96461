"""All levels of a feature pyramid seen as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.structures.bbox import BaseBoxes, cat_boxes
from torch import Tensor


def merge_levels(levels: Sequence[Sequence[Tensor | BaseBoxes]]) -> list[Tensor | BaseBoxes]:
    """Join what an anchor head's ``loss_by_feat_single`` gets for each level into what it would get for one level.

    Args:
        levels: for each level the same arguments in the same order: feature maps of shape (B, A C, H, W), with A
            anchors at a place and C channels each, and values of anchors of shape (B, A H W) or (B, A H W, D). There
            must be at least one of both kinds.

    Returns:
        One of each argument: feature maps as (B, C, K, 1), and values of anchors as (B, K) or (B, K, D), with K the
        number of anchors of all levels. Their anchors are in the same order.

    Raises:
        TypeError: an argument is neither of the two kinds, as where a head hands its loss the stride of a level.
    """
    for values in levels[0]:
        if not isinstance(values, (Tensor, BaseBoxes)) or values.dim() not in (2, 3, 4):
            raise TypeError(
                f"the loss of a level gets a {type(values).__name__} besides feature maps and the anchors' values"
            )
    if {4} == {values.dim() for values in levels[0]} or all(values.dim() != 4 for values in levels[0]):
        raise TypeError("the loss of a level does not get both feature maps and values of anchors")
    anchors = [next(values.shape[1] for values in level if values.dim() != 4) for level in levels]
    return [
        _merge_maps(values, anchors) if values[0].dim() == 4 else cat_boxes(values, dim=1) for values in zip(*levels)
    ]


def _merge_maps(maps: Sequence[Tensor], anchors: Sequence[int]) -> Tensor:
    rows = [m.permute(0, 2, 3, 1).reshape(len(m), count, -1) for m, count in zip(maps, anchors)]
    return torch.cat(rows, dim=1).transpose(1, 2).unsqueeze(-1)
