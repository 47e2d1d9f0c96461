"""A RoI head that trains on features which an adversary occludes: A-Fast-RCNN."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import bbox2roi
from mmengine.model import Sequential
from torch import Tensor, nn

from ghm_mmdet.functional import checks, occlusion_windows, sample_occlusion
from ghm_mmdet.registry import MODELS

POLICIES = ("joint", "fixed", "window")
KEPT_CELLS = 0.4  # of those outside the window, in the adversary's pretraining: they are ten times as many


@MODELS.register_module()
class AdversarialDropoutRoIHead(StandardRoIHead):
    """mmdet's StandardRoIHead with adversarial spatial dropout.

    In training the positive RoIs of some images lose a few cells of their features, the same in all channels, before
    they reach ``bbox_head``. Prediction, masks and negatives are left alone. ``policy`` says who picks the cells:

    - ``"joint"``: an adversary, a small convolutional network on the RoI features, which are constants to it. For the
      first ``pretrain_steps`` steps nothing is occluded, and it learns to point at the window whose loss lowers the
      score of the true class most. From then on cells are drawn from those it marks
      (:func:`ghm_mmdet.functional.sample_occlusion`), and where they lower that score by more than ``score_drop``
      it learns them as its target.
    - ``"fixed"``: the same, but after ``pretrain_steps`` the adversary stays as it is. Under DistributedDataParallel it
      needs ``find_unused_parameters=True`` in the config.
    - ``"window"``: no network; the window whose loss lowers the score most, found by trying all.

    The adversary's loss is ``loss_adversary``, the mean binary cross-entropy over the cells of the positive RoIs. The
    paper's second adversary, the spatial transformer (ASTN), which rotates the features, is left out.

    Args:
        policy: ``"joint"``, ``"fixed"`` or ``"window"``.
        pretrain_steps: training steps of the adversary before it occludes, at least 0; no effect with ``"window"``.
        occluded_images: the share of the images whose RoIs are occluded, drawn anew for each image, in [0, 1].
        window_size: side of a window, in cells.
        window_stride: in cells.
        candidates: the number of cells of a RoI that are marked.
        dropped: how many of them are occluded.
        score_drop: at least 0.
        joint_weight: factor on the adversary's loss after ``pretrain_steps``, at least 0; before it is 1.

    Raises:
        ValueError: an argument is out of its range.

    Source: Wang et al., "A-Fast-RCNN: Hard Positive Generation via Adversary for Object Detection" (CVPR 2017,
    arXiv:1704.03414). The defaults are its released code's, for 7 x 7 cells; of two images the code occludes one.
    """

    def __init__(
        self,
        *args: Any,
        policy: str = "joint",
        pretrain_steps: int = 0,
        occluded_images: float = 0.5,
        window_size: int = 2,
        window_stride: int = 2,
        candidates: int = 20,
        dropped: int = 15,
        score_drop: float = 0.1,
        joint_weight: float = 0.0025,
        **kwargs: Any,
    ):
        if policy not in POLICIES:
            raise ValueError(f"policy must be one of {', '.join(map(repr, POLICIES))}, got {policy!r}")
        if isinstance(pretrain_steps, bool) or not isinstance(pretrain_steps, int) or pretrain_steps < 0:
            raise ValueError(f"pretrain_steps must be an integer of at least 0, got {pretrain_steps!r}")
        checks.check_fraction("occluded_images", occluded_images)
        checks.check_not_negative("score_drop", score_drop)
        checks.check_not_negative("joint_weight", joint_weight)
        super().__init__(*args, **kwargs)
        height, width = self.bbox_head.roi_feat_size
        windows = occlusion_windows(height, width, window_size, window_stride)
        self.register_buffer("windows", windows, persistent=False)
        sample_occlusion(torch.zeros(1, height, width), candidates, dropped)
        self.policy = policy
        self.pretrain_steps = pretrain_steps
        self.occluded_images = occluded_images
        self.candidates = candidates
        self.dropped = dropped
        self.score_drop = score_drop
        self.joint_weight = joint_weight
        if policy != "window":
            self.adversary = Adversary(self.bbox_head.in_channels)
            self.register_buffer("adversary_steps", torch.zeros((), dtype=torch.long))

    def bbox_loss(self, x: tuple[Tensor, ...], sampling_results: list[SamplingResult]) -> dict:
        """The losses of the box head on occluded features, and that of the adversary; the arguments are mmdet's."""
        rois = bbox2roi([result.priors for result in sampling_results])
        features = self.bbox_roi_extractor(x[: self.bbox_roi_extractor.num_inputs], rois)
        if self.with_shared_head:
            features = self.shared_head(features)
        labels = self.bbox_head.get_targets(sampling_results, self.train_cfg)[0]
        positives = ((labels >= 0) & (labels < self.bbox_head.num_classes)).nonzero().squeeze(1)
        pretraining = self.policy != "window" and int(self.adversary_steps) < self.pretrain_steps
        share = 0.0 if pretraining else self.occluded_images
        images = torch.rand(len(sampling_results), device=rois.device) < share
        occluded = positives[images[rois[positives, 0].long()]]
        cells, marks = self.occlusion(features.detach()[occluded], labels[occluded])
        keep = features.new_ones(len(features), 1, *self.windows.shape[1:])
        keep[occluded] = (~cells).to(keep.dtype).unsqueeze(1)
        cls_score, bbox_pred = self.bbox_head(features * keep)
        results = self.bbox_head.loss_and_target(cls_score, bbox_pred, rois, sampling_results, self.train_cfg)
        losses = results["loss_bbox"]
        if pretraining:
            losses["loss_adversary"] = self.pretraining_loss(features.detach()[positives], labels[positives])
        elif marks is not None and self.policy == "joint":
            before = self.score(features.detach()[occluded], labels[occluded])
            after = self.true_class_probability(cls_score.detach()[occluded], labels[occluded])
            loss = self.joint_loss(marks, cells, before, after)
            losses["loss_adversary"] = self.joint_weight * loss
        if self.policy != "window":
            self.adversary_steps += 1
        return dict(cls_score=cls_score, bbox_pred=bbox_pred, bbox_feats=features, loss_bbox=losses)

    def occlusion(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Which cells of each region are occluded, bool, (N, H, W), and the adversary's logits that say so, if any."""
        if self.policy == "window":
            return self.hardest_window(features, labels), None
        with torch.set_grad_enabled(self.policy == "joint"):
            marks = self.adversary(features)
        return sample_occlusion(marks.detach(), self.candidates, self.dropped), marks

    @torch.no_grad()
    def hardest_window(self, features: Tensor, labels: Tensor) -> Tensor:
        """The window of each region without which its true class has the lowest score, bool, shape (N, H, W)."""
        scores = torch.stack([self.score(features * ~window, labels) for window in self.windows])
        return self.windows[scores.argmin(dim=0)]

    @torch.no_grad()
    def score(self, features: Tensor, labels: Tensor) -> Tensor:
        """The score of the true class of each region, shape (N,)."""
        return self.true_class_probability(self.bbox_head(features)[0], labels)

    def true_class_probability(self, cls_score: Tensor, labels: Tensor) -> Tensor:
        """That of each label, shape (N,), as the box head predicts."""
        head = self.bbox_head
        scores = head.loss_cls.get_activation(cls_score) if head.custom_activation else cls_score.softmax(dim=-1)
        return scores.gather(1, labels.unsqueeze(1)).squeeze(1)

    def pretraining_loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the adversary with the hardest window, over its cells and a part of the others."""
        target = self.hardest_window(features, labels)
        counted = target | (torch.rand(target.shape, device=target.device) < KEPT_CELLS)
        return self.mean_cross_entropy(self.adversary(features), target, counted)

    def joint_loss(self, marks: Tensor, cells: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Cross-entropy of the adversary with the occlusions that took more than ``score_drop`` from the score."""
        success = after + self.score_drop < before
        return self.mean_cross_entropy(marks, cells, success.view(-1, 1, 1).expand_as(cells))

    @staticmethod
    def mean_cross_entropy(logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
        """The sum over the cells that count, divided by the number of all."""
        loss = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
        return (loss * counted).sum() / max(loss.numel(), 1)


class Adversary(Sequential):
    """One logit for each cell of a region: how much the adversary wants it occluded.

    Takes features of shape (N, C, H, W) and gives logits of shape (N, H, W): four 3 x 3 convolutions of C channels with
    ReLU, and one to a single channel.
    """

    def __init__(self, channels: int):
        layers: list[nn.Module] = []
        for _ in range(4):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(channels, 1, 3, padding=1), nn.Flatten(0, 1)]
        super().__init__(*layers, init_cfg=dict(type="Kaiming", layer="Conv2d"))
