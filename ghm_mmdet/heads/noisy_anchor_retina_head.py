"""RetinaNet that learns from noisy anchors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

from ghm_mmdet.functional import cleanliness, cleanliness_weight, rescaled_cleanliness
from ghm_mmdet.heads.density_scope import RetinaHead
from ghm_mmdet.heads.localization import localization
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class NoisyAnchorRetinaHead(RetinaHead):
    """A RetinaHead that trusts each positive anchor as far as it is clean: soft labels, and weights in both losses.

    A training step, for each image over the anchors of all levels:

    1. the anchors of highest IoU with each ground truth are its positives: :class:`TopNIoUAssigner` in ``train_cfg``;
    2. loc, the IoU of a positive's predicted box with its ground truth, and cls, its predicted score for the true
       class; neither has a gradient;
    3. its soft label from them, 0 in all other columns and for every other anchor:
       :func:`ghm_mmdet.functional.rescaled_cleanliness`;
    4. its weight in both losses from them, 1 for every other anchor:
       :func:`ghm_mmdet.functional.cleanliness_weight`. Each loss is then scaled back to the value that it has without
       these weights.

    ``loss_cls`` must take soft labels: ``ghm_mmdet.SoftFocalLoss`` in the released code. With ``alpha=1.0``,
    ``gamma=0.0`` and ``rescale=False`` a positive's label is its IoU, as ``VarifocalLoss`` of mmdet takes it, with any
    assigner.

    The released code divides both losses by a moving average of the number of positives; here it is that of the batch,
    as everywhere in mmdet. An anchor among the first N of a ground truth is that one's positive here, there that of the
    ground truth it overlaps most.

    Args:
        alpha: the part of loc in labels and weights, in [0, 1].
        gamma: power of the weights, at least 0; 0 for no weights.
        rescale: whether the labels of an image are spread from its mean loc to 1, as in the released code; else they
            are the cleanliness c = a loc + (1 - a) cls of the paper.
        density_scope: must be ``"batch"``: an image's anchors are seen over all levels together.

    Raises:
        ValueError: an argument is out of its range, ``loss_cls`` has no ``use_sigmoid=True``, or it keeps a state, as
            GHM does, while gamma is above 0.

    Source: Li et al., "Learning from Noisy Anchors for One-stage Object Detection" (CVPR 2020, arXiv:1912.05086) and
    its released code.
    """

    def __init__(
        self,
        *args: Any,
        alpha: float = 0.75,
        gamma: float = 1.0,
        rescale: bool = True,
        density_scope: str = "batch",
        **kwargs: Any,
    ):
        if density_scope != "batch":
            raise ValueError(f"density_scope must be 'batch', labels are made over all levels, got {density_scope!r}")
        cleanliness_weight(torch.zeros(1), torch.zeros(1), alpha, gamma)
        super().__init__(*args, density_scope=density_scope, **kwargs)
        if not self.use_sigmoid_cls:
            raise ValueError(
                f"a soft label needs a sigmoid: write use_sigmoid=True into loss_cls of {type(self).__name__}"
            )
        if gamma > 0 and next(self.loss_cls.buffers(), None) is not None:
            raise ValueError(
                f"{type(self.loss_cls).__name__} keeps a state, and {type(self).__name__} calls its loss twice a step: "
                f"use SoftFocalLoss, or gamma=0.0"
            )
        self.alpha = alpha
        self.gamma = gamma
        self.rescale = rescale

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
        """The losses over the anchors of all levels.

        Args:
            cls_score: shape (B, C, K, 1).
            bbox_pred: shape (B, 4, K, 1).
            anchors: shape (B, K, 4).
            labels: int64, shape (B, K).
            label_weights: shape (B, K).
            bbox_targets: shape (B, K, 4).
            bbox_weights: shape (B, K, 4).
            avg_factor: what both losses divide by.
        """
        logits, deltas = (values.squeeze(-1).transpose(1, 2) for values in (cls_score, bbox_pred))
        soft, trust = self.soft_labels(logits, deltas, anchors, labels, bbox_targets)
        logits, deltas, soft, anchors, targets = (
            values.flatten(0, 1) for values in (logits, deltas, soft, anchors, bbox_targets)
        )
        if self.reg_decoded_bbox:
            deltas = get_box_tensor(self.bbox_coder.decode(anchors, deltas))

        def loss_cls(weight: Tensor) -> Tensor:
            return self.loss_cls(logits, soft, weight, avg_factor=avg_factor)

        def loss_bbox(weight: Tensor) -> Tensor:
            return self.loss_bbox(deltas, targets, weight, avg_factor=avg_factor)

        return (
            self.reweighted(loss_cls, label_weights.reshape(-1, 1), trust.reshape(-1, 1)),
            self.reweighted(loss_bbox, bbox_weights.flatten(0, 1), trust.reshape(-1, 1)),
        )

    def reweighted(self, loss: Callable[[Tensor], Tensor], weight: Tensor, trust: Tensor) -> Tensor:
        """A loss with the weights times trust, scaled to the value that it has with the weights alone."""
        if self.gamma == 0:
            return loss(weight)
        with torch.no_grad():
            value = loss(weight)
        reweighted = loss(weight * trust)
        return reweighted * torch.where(reweighted > 0, value / reweighted, 1.0).detach()

    @torch.no_grad()
    def soft_labels(
        self, logits: Tensor, deltas: Tensor, anchors: Tensor, labels: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The soft labels and the weights of all anchors.

        Args:
            logits: shape (B, K, C).
            deltas: shape (B, K, 4).
            anchors: shape (B, K, 4).
            labels: int64, shape (B, K), background being C.
            targets: what ``loss_bbox`` regresses to, shape (B, K, 4).

        Returns:
            The labels, in [0, 1], shape (B, K, C), and the weights, shape (B, K).
        """
        soft = torch.zeros_like(logits, dtype=torch.promote_types(logits.dtype, torch.float32))
        trust = soft.new_ones(labels.shape)
        label_of = rescaled_cleanliness if self.rescale else cleanliness
        for image in range(len(labels)):
            positive = ((labels[image] >= 0) & (labels[image] < self.num_classes)).nonzero().squeeze(1)
            if len(positive) == 0:
                continue
            column = labels[image, positive]
            confidence = logits[image, positive, column].to(soft.dtype).sigmoid()
            loc = localization(self, deltas[image, positive], anchors[image, positive], targets[image, positive])
            loc = loc.to(soft.dtype)
            soft[image, positive, column] = label_of(loc, confidence, self.alpha)
            trust[image, positive] = cleanliness_weight(loc, confidence, self.alpha, self.gamma)
        return soft, trust
