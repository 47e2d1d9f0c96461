"""Occlusions of the features of a region: windows, and cells drawn from those that a network marks."""

from __future__ import annotations

import torch
from torch import Tensor


def occlusion_windows(height: int, width: int, size: int = 2, stride: int = 2) -> Tensor:
    """All square windows of a grid of cells, a stride apart; those that would stick out are moved in to the border.

    Args:
        height: of the grid, in cells.
        width: of the grid, in cells.
        size: side of a window, in cells, from 1 to the smaller side of the grid.
        stride: in cells, at least 1.

    Returns:
        Whether each cell is occluded, bool, shape (W, height, width): ceil(height / stride) rows of
        ceil(width / stride) windows.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> occlusion_windows(3, 3).flatten(1).sum(1)
        tensor([4, 4, 4, 4])

    Source: the released code of Wang et al., "A-Fast-RCNN: Hard Positive Generation via Adversary for Object Detection"
    (CVPR 2017, arXiv:1704.03414): windows of 2 cells with stride 2 on 7 x 7; the paper has a third of the side.
    """
    if not 1 <= size <= min(height, width) or stride < 1:
        raise ValueError(
            f"a window must be 1 to {min(height, width)} cells on a grid of {height} x {width}, and the stride at "
            f"least 1: got size {size} and stride {stride}"
        )

    def strips(length: int) -> Tensor:
        start = torch.arange(0, length, stride).clamp(max=length - size).unsqueeze(1)
        cell = torch.arange(length)
        return (cell >= start) & (cell < start + size)

    return (strips(height)[:, None, :, None] & strips(width)[None, :, None, :]).flatten(0, 1)


def sample_occlusion(logits: Tensor, candidates: int = 20, dropped: int = 15) -> Tensor:
    """Occlude cells at random among those of highest logit.

    Args:
        logits: how much the adversary wants each cell occluded, shape (N, H, W).
        candidates: the number of cells of highest logit to draw from, 1 to H W.
        dropped: how many of them are occluded, 0 to ``candidates``.

    Returns:
        Whether each cell is occluded, bool, shape (N, H, W).

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> sample_occlusion(torch.tensor([[[3.0, 1.0], [2.0, 0.0]]]), candidates=2, dropped=2)
        tensor([[[ True, False],
                 [ True, False]]])

    Source: Wang et al., "A-Fast-RCNN" (CVPR 2017, arXiv:1704.03414): a third of the cells among the upper half; its
    released code draws 15 of 20 among 7 x 7.
    """
    cells = logits.flatten(1)
    if not 0 <= dropped <= candidates <= cells.shape[1]:
        raise ValueError(
            f"dropped must be at most candidates, and candidates at most {cells.shape[1]}, the cells of a region: got "
            f"dropped {dropped} and candidates {candidates}"
        )
    marked = cells.topk(candidates, dim=1).indices
    drawn = torch.rand(marked.shape, device=marked.device).argsort(dim=1)[:, :dropped]
    occluded = torch.zeros_like(cells, dtype=torch.bool)
    return occluded.scatter_(1, marked.gather(1, drawn), True).view(logits.shape)
