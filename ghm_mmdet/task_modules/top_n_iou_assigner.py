"""Positives for the cleanliness labels: a fixed number of anchors for each ground truth."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmengine.structures import InstanceData

from ghm_mmdet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class TopNIoUAssigner(BaseAssigner):
    """Assign to each ground truth the anchors of highest IoU with it; every other anchor is negative.

    - An anchor among the first N of several ground truths goes to the one it overlaps most, and of equals to the
      first; the others get no anchor in its place.
    - Of anchors with equal IoU at the N-th place the first are taken, in the order of the anchors.
    - An anchor that does not overlap a ground truth is never its positive, so that a ground truth may have fewer
      than N, and one of no area none.
    - No anchor is ignored.

    Args:
        num: N, at least 1.

    Raises:
        ValueError: ``num`` is out of its range.

    Source: Li et al., "Learning from Noisy Anchors for One-stage Object Detection" (CVPR 2020, arXiv:1912.05086).
    """

    def __init__(self, num: int = 100):
        if isinstance(num, bool) or not isinstance(num, int) or num < 1:
            raise ValueError(f"num must be an integer of at least 1 (anchors for each ground truth), got {num!r}")
        self.num = num

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """Assign.

        Args:
            pred_instances: ``priors``, shape (K, 4), x1, y1, x2, y2.
            gt_instances: ``bboxes`` of shape (G, 4) and ``labels`` of shape (G,).
            gt_instances_ignore: has no effect.

        Returns:
            ``gt_inds`` (K,): 0 for a negative, the number of its ground truth counted from 1 for a positive;
            ``max_overlaps`` (K,), the IoU with any ground truth; ``labels`` (K,), -1 for a negative.
        """
        priors, boxes = get_box_tensor(pred_instances.priors), get_box_tensor(gt_instances.bboxes)
        labels = gt_instances.labels
        if len(boxes) == 0 or len(priors) == 0:
            negative = torch.zeros(len(priors), dtype=torch.long, device=priors.device)
            return AssignResult(len(boxes), negative, priors.new_zeros(len(priors)), negative - 1)
        iou = bbox_overlaps(boxes, priors)
        # A stable sort and not topk, whose choice among equals is not defined.
        first = iou.argsort(dim=1, descending=True, stable=True)[:, : self.num]
        candidate = torch.zeros_like(iou).scatter_(1, first, iou.gather(1, first))
        best, owner = candidate.max(dim=0)
        # max() may return any of several equal owners.
        owner = torch.where(best > 0, (candidate == best).int().argmax(dim=0), owner)
        positive = best > 0
        return AssignResult(
            len(boxes),
            torch.where(positive, owner + 1, 0),
            iou.max(dim=0).values,
            torch.where(positive, labels[owner], -1),
        )
