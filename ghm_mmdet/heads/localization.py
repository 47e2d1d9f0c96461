"""How well an anchor head predicts the boxes of its positives."""

from __future__ import annotations

from mmdet.models.dense_heads import AnchorHead
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor


def localization(head: AnchorHead, deltas: Tensor, anchors: Tensor, targets: Tensor) -> Tensor:
    """IoU of the predicted boxes with their ground truths, shape (P,), in [0, 1].

    Args:
        head: knows how its boxes are coded.
        deltas: predictions of the positives, shape (P, 4).
        anchors: shape (P, 4).
        targets: what ``loss_bbox`` regresses to, shape (P, 4).
    """
    box = get_box_tensor(head.bbox_coder.decode(anchors, deltas.float()))
    truth = targets if head.reg_decoded_bbox else get_box_tensor(head.bbox_coder.decode(anchors, targets))
    return bbox_overlaps(box, truth, is_aligned=True).clamp(0, 1)
