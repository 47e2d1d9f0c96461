"""Which anchors online hard example mining keeps in an image."""

from __future__ import annotations

import torch
from mmcv.ops import nms
from torch import Tensor


def hard_anchors(
    score: Tensor,
    boxes: Tensor,
    positive: Tensor,
    *,
    iou_threshold: float = 0.7,
    num: int | None = 128,
    neg_pos_ratio: float | None = None,
) -> Tensor:
    """Sort anchors by score, suppress those that overlap one of higher score, and keep the first of what is left.

    Args:
        score: the hardness of each anchor, its loss; floating point, shape (K,).
        boxes: its box, x1, y1, x2, y2; floating point, shape (K, 4).
        positive: whether it has a ground truth; bool, shape (K,).
        iou_threshold: an anchor is suppressed by one of higher score and IoU above this, whatever their classes.
        num: how many are kept; ``None`` for no limit, with ``neg_pos_ratio`` alone.
        neg_pos_ratio: r; keep the P hardest positives left and the r max(P, 1) hardest negatives left, where P is the
            number of positives left, or as many of them as ``num`` has room for, at least one; negatives fill what is
            left of ``num`` at most. Without positives negatives are thus
            kept as for one, with few negatives all of them. ``None`` keeps the hardest, positive or not.

    Returns:
        The indices of the anchors that are kept, int64, at most (num,).

    Source: Focal Loss paper (Lin et al., ICCV 2017, arXiv:1708.02002), table 1d.
    """
    order = score.argsort(descending=True, stable=True)
    rank = torch.arange(len(order), device=score.device)
    ranked_positive = positive[order]
    if neg_pos_ratio is None:
        # NMS goes down the order, so on the first few it gives what it gives for them among all.
        prefix = 8 * (num or 0)
    else:
        prefix = 2 * int(rank[ranked_positive].max()) if ranked_positive.any() else 0
        prefix += int(8 * (neg_pos_ratio + 1))
    while True:
        # The rank stands for the score, so that equal scores keep their order however far NMS goes.
        left = nms(boxes[order[:prefix]], -rank[:prefix].to(boxes.dtype), iou_threshold)[1].sort()[0]
        if neg_pos_ratio is None:
            kept, wanted = left[:num], num
        else:
            left_positive = ranked_positive[left]
            room = len(order) if num is None else num
            positives = left[left_positive][: room if num is None else max(1, int(num / (1 + neg_pos_ratio)))]
            wanted = min(int(neg_pos_ratio * max(len(positives), 1)), room - len(positives))
            negatives = left[~left_positive][:wanted]
            kept, wanted = torch.cat((positives, negatives)), wanted + len(positives)
        if len(kept) == wanted or prefix >= len(order):
            return order[kept]
        prefix *= 2
