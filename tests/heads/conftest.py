"""Heads, predictions and ground truth small enough for the naive oracles."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

CLASSES = 3
STRIDES = [8, 16, 32]
SIZE = 64


def assigner(**kwargs) -> dict:
    return dict(type="mmdet.MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0, **kwargs)


def build_head(type: str, loss_cls: dict, loss_bbox: dict, rpn: bool = False, **kwargs) -> torch.nn.Module:
    scales = dict(scales=[2.0]) if rpn else dict(octave_base_scale=2, scales_per_octave=2)
    train_cfg = dict(assigner=assigner(), allowed_border=-1, pos_weight=-1)
    config = dict(
        type=type,
        in_channels=4,
        feat_channels=4,
        anchor_generator=dict(type="mmdet.AnchorGenerator", ratios=[0.5, 1.0], strides=STRIDES, **scales),
        bbox_coder=dict(type="mmdet.DeltaXYWHBBoxCoder"),
        loss_cls=loss_cls,
        loss_bbox=loss_bbox,
        train_cfg=kwargs.pop("train_cfg", train_cfg),
        **kwargs,
    )
    if not rpn:
        config.update(num_classes=CLASSES, stacked_convs=1)
    return MODELS.build(ConfigDict(config))


class Batch:
    """Predictions of a head for two images, with two objects and with one (or none)."""

    def __init__(self, head: torch.nn.Module, seed: int = 0, objects: tuple[int, int] = (2, 1), labels: int = CLASSES):
        generator = torch.Generator().manual_seed(seed)
        per_place = head.num_base_priors
        self.cls_scores, self.bbox_preds = [], []
        for stride in STRIDES:
            size = SIZE // stride
            cls_score = torch.randn(2, per_place * head.cls_out_channels, size, size, generator=generator) * 2 - 1
            self.cls_scores.append(cls_score.requires_grad_())
            bbox_pred = torch.randn(2, per_place * 4, size, size, generator=generator) * 0.1
            self.bbox_preds.append(bbox_pred.requires_grad_())
        self.gt_instances = []
        for count in objects:
            corner = torch.rand(count, 2, generator=generator) * 24
            extent = 16 + torch.rand(count, 2, generator=generator) * 20
            self.gt_instances.append(
                InstanceData(
                    bboxes=torch.cat((corner, corner + extent), 1),
                    labels=torch.randint(0, labels, (count,), generator=generator),
                )
            )
        self.metas = [dict(img_shape=(SIZE, SIZE), pad_shape=(SIZE, SIZE))] * 2

    def losses(self, head: torch.nn.Module) -> dict[str, torch.Tensor]:
        losses = head.loss_by_feat(self.cls_scores, self.bbox_preds, self.gt_instances, self.metas)
        return {name: sum(value) for name, value in losses.items()}

    def gradients(self, loss: torch.Tensor) -> list[torch.Tensor]:
        inputs = [*self.cls_scores, *self.bbox_preds]
        gradients = torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)
        return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, gradients)]

    def targets(self, head: torch.nn.Module) -> tuple[torch.Tensor, ...]:
        """mmdet's targets of all anchors in one row: labels, label weights, box targets and box weights."""
        sizes = [score.shape[-2:] for score in self.cls_scores]
        anchors, flags = head.get_anchors(sizes, self.metas, device="cpu")
        targets = head.get_targets(anchors, flags, self.gt_instances, self.metas)[:4]
        return tuple(torch.cat([level.flatten(0, 1) for level in value]) for value in targets)

    def rows(self, maps: list[torch.Tensor], channels: int) -> torch.Tensor:
        return torch.cat([m.permute(0, 2, 3, 1).reshape(-1, channels) for m in maps])


@pytest.fixture
def head_of():
    return build_head


@pytest.fixture
def batch_of():
    return Batch
