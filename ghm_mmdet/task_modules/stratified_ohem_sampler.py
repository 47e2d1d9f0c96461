"""Stratified online hard example mining in a RoI head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import OHEMSampler, SamplingResult
from mmdet.structures.bbox import bbox2roi, get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from ghm_mmdet.functional import checks
from ghm_mmdet.functional.stratified_mining import check_strata, stratified_hard_samples
from ghm_mmdet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class StratifiedOHEMSampler(OHEMSampler):
    """Train on the hardest RoIs of each stratum, where a stratum is a range of the classification's share of the loss.

    For each image the RoI head scores all RoIs without gradient, and
    :func:`ghm_mmdet.functional.stratified_hard_samples` chooses ``num`` of them, positive or not: background, whose
    loss is all classification, is in the last stratum. mmdet's OHEMSampler ranks positives and negatives apart, by the
    classification loss alone.

    Four strata, and weights of the two losses that change in the course of the training, are the paper's by second-hand
    notes. Here the weights are constants, and the parts of the strata, equal by default, are this project's choice.

    Args:
        num: RoIs of an image to train on.
        context: the RoI head, given by mmdet.
        strata: the parts of ``num`` of the strata, from RoIs whose loss is all localization to those whose loss is all
            classification, each at least 0, of sum 1; ``(1.0,)`` is OHEM by the sum of both losses.
        cls_weight: factor on the classification loss in a RoI's loss, at least 0.
        loc_weight: factor on its localization loss, at least 0.
        add_gt_as_proposals: whether the ground truths are RoIs too.

    Raises:
        ValueError: an argument is out of its range.

    Source: Li et al., "S-OHEM: Stratified Online Hard Example Mining for Object Detection" (2017, arXiv:1705.02233).
    """

    def __init__(
        self,
        num: int,
        context: torch.nn.Module,
        strata: Sequence[float] = (0.25, 0.25, 0.25, 0.25),
        cls_weight: float = 1.0,
        loc_weight: float = 1.0,
        add_gt_as_proposals: bool = True,
    ):
        check_strata(strata)
        checks.check_not_negative("cls_weight", cls_weight)
        checks.check_not_negative("loc_weight", loc_weight)
        super().__init__(num, pos_fraction=1.0, context=context, add_gt_as_proposals=add_gt_as_proposals)
        self.strata = tuple(strata)
        self.cls_weight = cls_weight
        self.loc_weight = loc_weight

    def sample(
        self, assign_result: AssignResult, pred_instances: InstanceData, gt_instances: InstanceData, **kwargs: Any
    ) -> SamplingResult:
        """Sample the RoIs of one image; the arguments are mmdet's."""
        return super().sample(
            assign_result, pred_instances, gt_instances, truths=get_box_tensor(gt_instances.bboxes), **kwargs
        )

    def _sample_pos(
        self,
        assign_result: AssignResult,
        num_expected: int,
        bboxes: Tensor,
        feats: list[Tensor],
        truths: Tensor,
        **kwargs: Any,
    ) -> Tensor:
        """The chosen positives. Ignores the negatives that are not chosen, so that mmdet takes all the others."""
        candidates = (assign_result.gt_inds >= 0).nonzero().squeeze(1)
        if len(candidates) > num_expected:
            losses = self.losses(assign_result, candidates, bboxes, feats, truths)
            chosen = stratified_hard_samples(*losses, num_expected, self.strata, self.cls_weight, self.loc_weight)
            left_out = torch.ones_like(candidates, dtype=torch.bool).index_fill_(0, chosen, False)
            assign_result.gt_inds[candidates[left_out]] = -1
        return (assign_result.gt_inds > 0).nonzero().squeeze(1)

    @torch.no_grad()
    def losses(
        self, assign_result: AssignResult, rois: Tensor, bboxes: Tensor, feats: list[Tensor], truths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The classification and the localization loss of each RoI, shape (N,), without their means."""
        boxes, owners = get_box_tensor(bboxes)[rois], assign_result.gt_inds[rois] - 1
        positive = owners >= 0
        labels = torch.where(positive, assign_result.labels[rois], self.bbox_head.num_classes)
        targets = boxes.new_zeros(len(boxes), 4)
        targets[positive] = truths[owners[positive]]
        if not self.bbox_head.reg_decoded_bbox:
            encoded = self.bbox_head.bbox_coder.encode(boxes[positive], targets[positive])
            targets = encoded.new_zeros(len(boxes), encoded.shape[1])
            targets[positive] = encoded
        batch = bbox2roi([boxes])
        stage = (self.context.current_stage,) if hasattr(self.context, "num_stages") else ()
        results = self.context._bbox_forward(*stage, feats, batch)
        losses = self.bbox_head.loss(
            results["cls_score"],
            results["bbox_pred"],
            batch,
            labels,
            boxes.new_ones(len(boxes)),
            targets,
            torch.ones_like(targets),
            reduction_override="none",
        )
        cls_loss = losses["loss_cls"].reshape(len(boxes), -1).sum(1)
        loc_loss = torch.zeros_like(cls_loss)
        if positive.any():
            loc_loss[positive] = losses["loss_bbox"].reshape(int(positive.sum()), -1).sum(1).to(loc_loss.dtype)
        return cls_loss, loc_loss
