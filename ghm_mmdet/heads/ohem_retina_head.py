"""RetinaNet with online hard example mining, as the Focal Loss paper ran it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

from ghm_mmdet.heads.density_scope import RetinaHead
from ghm_mmdet.heads.hard_anchors import hard_anchors
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class OHEMRetinaHead(RetinaHead):
    """A RetinaHead that trains on the hardest anchors of each image and leaves the others out.

    In each image every anchor is scored by its classification loss, NMS runs on the predicted boxes, and the ``num``
    anchors of highest loss are kept, or with ``neg_pos_ratio`` positives and negatives in that ratio (see
    :func:`ghm_mmdet.heads.hard_anchors.hard_anchors`). The choice has no gradient. Both losses count the kept anchors
    alone and are divided by their number, as after any sampler of mmdet. An image without objects keeps ``num``
    negatives, with ``neg_pos_ratio`` as many as go with one positive.

    ``loss_cls`` must score an anchor without looking at the others, as cross-entropy does, and take mmdet's
    ``reduction_override="none"``.

    Args:
        num: how many anchors of an image are kept; ``None`` for no limit, with ``neg_pos_ratio`` alone.
        neg_pos_ratio: negatives kept for each positive, at least 0; ``None`` keeps the hardest, positive or not.
        ohem_iou_threshold: of the NMS, in [0, 1].
        density_scope: must be ``"batch"``: an image's anchors are mined over all levels together.

    Raises:
        ValueError: an argument is out of its range, or ``loss_cls`` keeps a state, as GHM does.

    Source: Focal Loss paper (Lin et al., ICCV 2017, arXiv:1708.02002), table 1d.
    """

    def __init__(
        self,
        *args: Any,
        num: int | None = 128,
        neg_pos_ratio: float | None = None,
        ohem_iou_threshold: float = 0.7,
        density_scope: str = "batch",
        **kwargs: Any,
    ):
        if density_scope != "batch":
            raise ValueError(f"density_scope must be 'batch', anchors are mined over all levels, got {density_scope!r}")
        if num is None and neg_pos_ratio is None:
            raise ValueError("give num, the number of anchors to keep, or neg_pos_ratio, or both: got neither")
        if num is not None and (isinstance(num, bool) or not isinstance(num, int) or num < 1):
            raise ValueError(f"num must be an integer of at least 1, or None, got {num!r}")
        if neg_pos_ratio is not None and not neg_pos_ratio >= 0:
            raise ValueError(f"neg_pos_ratio must be a number of at least 0, or None, got {neg_pos_ratio!r}")
        if not 0 <= ohem_iou_threshold <= 1:
            raise ValueError(f"ohem_iou_threshold must be in [0, 1], got {ohem_iou_threshold!r}")
        super().__init__(*args, density_scope=density_scope, **kwargs)
        if next(self.loss_cls.buffers(), None) is not None:
            raise ValueError(
                f"{type(self.loss_cls).__name__} keeps a state, which scoring the anchors would change: use a loss_cls "
                f"without one, such as CrossEntropyLoss, in {type(self).__name__}"
            )
        self.num = num
        self.neg_pos_ratio = neg_pos_ratio
        self.ohem_iou_threshold = ohem_iou_threshold

    def loss_of_anchors(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        anchors: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        avg_factor: float,
    ) -> Iterable[Tensor]:
        """The losses over the hard anchors among those of all levels."""
        hard = self.hard_anchors(cls_score, bbox_pred, anchors, labels, label_weights)
        return super().loss_of_anchors(
            cls_score,
            bbox_pred,
            anchors,
            labels,
            label_weights * hard,
            bbox_targets,
            bbox_weights * hard.unsqueeze(-1),
            avg_factor=max(int(hard.sum()), 1),
        )

    @torch.no_grad()
    def hard_anchors(
        self, cls_score: Tensor, bbox_pred: Tensor, anchors: Tensor, labels: Tensor, label_weights: Tensor
    ) -> Tensor:
        """Whether each anchor is kept.

        Args:
            cls_score: shape (B, C, K, 1).
            bbox_pred: shape (B, 4, K, 1).
            anchors: shape (B, K, 4).
            labels: int64, shape (B, K).
            label_weights: shape (B, K); an anchor of weight 0 is ignored and neither kept nor suppresses others.

        Returns:
            bool, shape (B, K).
        """
        kept = torch.zeros_like(labels, dtype=torch.bool)
        for image in range(len(labels)):
            valid = label_weights[image].nonzero().squeeze(1)
            label = labels[image, valid]
            score = self.loss_cls(cls_score[image, :, valid, 0].t(), label, reduction_override="none")
            boxes = self.bbox_coder.decode(anchors[image, valid], bbox_pred[image, :, valid, 0].t())
            hard = hard_anchors(
                score.reshape(len(valid), -1).sum(1).float(),
                get_box_tensor(boxes).float(),
                (label >= 0) & (label < self.num_classes),
                iou_threshold=self.ohem_iou_threshold,
                num=self.num,
                neg_pos_ratio=self.neg_pos_ratio,
            )
            kept[image, valid[hard]] = True
        return kept
