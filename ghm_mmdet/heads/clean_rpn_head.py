"""An RPN that learns from cleanliness labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

from ghm_mmdet.functional import cleanliness
from ghm_mmdet.heads.density_scope import RPNHead
from ghm_mmdet.heads.localization import localization
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class CleanRPNHead(RPNHead):
    """An RPN whose positives have a soft label, their cleanliness, and whose negatives have the label 0.

    A training step:

    1. the anchors of highest IoU with each ground truth are its positives: :class:`TopNIoUAssigner` in ``train_cfg``,
       with a PseudoSampler, so that every anchor counts;
    2. loc, the IoU of a positive's predicted box with its ground truth;
    3. cls, its predicted score; neither has a gradient;
    4. c = a loc + (1 - a) cls: :func:`ghm_mmdet.functional.cleanliness`, c = 0 for every other anchor:
       :meth:`soft_labels`;
    5. ``loss_cls`` on the soft labels, GHM-C with sigmoid in the thesis, and ``loss_bbox``, smooth L1, on the
       positives.

    The thesis starts the bias at its optimum: ``ghm_mmdet.OptimalBiasInitHook``. Its losses are those of an RPN,
    ``loss_rpn_cls`` and ``loss_rpn_bbox``.

    Args:
        alpha: a, in [0, 1].

    Raises:
        ValueError: ``alpha`` is out of its range, or ``loss_cls`` has no ``use_sigmoid=True``.

    Source: the cleanliness of Li et al., "Learning from Noisy Anchors for One-stage Object Detection" (CVPR 2020,
    arXiv:1912.05086), in the RPN with GHM-C.
    """

    def __init__(self, *args: Any, alpha: float = 0.5, **kwargs: Any):
        super().__init__(*args, **kwargs)
        cleanliness(torch.zeros(1), torch.zeros(1), alpha)
        if not self.use_sigmoid_cls:
            raise ValueError("a soft label needs a sigmoid: write use_sigmoid=True into loss_cls of CleanRPNHead")
        self.alpha = alpha

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
        """The losses over the anchors of one level, or of all of them."""
        size = bbox_targets.size(-1)
        logits = cls_score.permute(0, 2, 3, 1).reshape(-1, 1)
        deltas = bbox_pred.permute(0, 2, 3, 1).reshape(-1, self.bbox_coder.encode_size)
        anchors = anchors.reshape(-1, anchors.size(-1))
        targets = bbox_targets.reshape(-1, size)
        positive = labels.reshape(-1) == 0

        soft = self.soft_labels(logits, deltas, anchors, targets, positive)
        loss_cls = self.loss_cls(logits, soft, label_weights.reshape(-1, 1), avg_factor=avg_factor)
        if self.reg_decoded_bbox:
            deltas = get_box_tensor(self.bbox_coder.decode(anchors, deltas))
        loss_bbox = self.loss_bbox(deltas, targets, bbox_weights.reshape(-1, size), avg_factor=avg_factor)
        return loss_cls, loss_bbox

    @torch.no_grad()
    def soft_labels(self, logits: Tensor, deltas: Tensor, anchors: Tensor, targets: Tensor, positive: Tensor) -> Tensor:
        """The cleanliness of the positives and 0 for the others, shape (K, 1), in [0, 1]."""
        soft = torch.zeros_like(logits, dtype=torch.promote_types(logits.dtype, torch.float32))
        confidence = logits[positive, 0].to(soft.dtype).sigmoid()
        loc = localization(self, deltas[positive], anchors[positive], targets[positive]).to(soft.dtype)
        soft[positive, 0] = cleanliness(loc, confidence, self.alpha)
        return soft
