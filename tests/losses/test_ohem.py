"""OHEMLoss in heads: which samples it mines together."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from ghm_mmdet.functional import ohem_loss
from ghm_mmdet.losses import OHEMLoss

METAS = [dict(img_shape=(64, 64), pad_shape=(64, 64))] * 2


def head_with(loss_cls, name="ghm_mmdet.RetinaHead", **options):
    assigner = dict(type="mmdet.MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)
    config = dict(
        type=name,
        num_classes=2,
        in_channels=4,
        feat_channels=4,
        stacked_convs=1,
        anchor_generator=dict(type="mmdet.AnchorGenerator", scales=[2.0], ratios=[1.0], strides=[8, 16]),
        bbox_coder=dict(type="mmdet.DeltaXYWHBBoxCoder"),
        loss_cls=loss_cls,
        loss_bbox=dict(type="mmdet.L1Loss"),
        train_cfg=dict(assigner=assigner, allowed_border=-1, pos_weight=-1),
        **options,
    )
    return MODELS.build(ConfigDict(config))


def losses_of(head):
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randn(2, 2, size, size, generator=generator) for size in (8, 4)]
    boxes = [torch.zeros(2, 4, size, size) for size in (8, 4)]
    # One image with two objects, one with none.
    objects = torch.tensor([[4.0, 4, 20, 20], [30, 30, 62, 60]])
    instances = [
        InstanceData(bboxes=objects, labels=torch.tensor([0, 1])),
        InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)),
    ]
    losses = head.loss_by_feat(scores, boxes, instances, METAS)["loss_cls"]
    anchors, flags = head.get_anchors([(8, 8), (4, 4)], METAS, "cpu")
    labels, weights, *_, avg_factor = head.get_targets(anchors, flags, instances, METAS)
    rows = [score.permute(0, 2, 3, 1).reshape(2, -1, 2) for score in scores]
    return losses, rows, labels, weights, avg_factor


def test_a_level_is_mined_as_one():
    losses, rows, labels, weights, avg_factor = losses_of(head_with(dict(type="ghm_mmdet.OHEMLoss", use_sigmoid=True)))
    for loss, logits, label, weight in zip(losses, rows, labels, weights):
        expected = ohem_loss(logits.flatten(0, 1), label.flatten(), weight.flatten()).sum() / avg_factor
        assert loss.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("scope", ["level", "batch"])
def test_an_image_is_mined_for_itself(scope):
    loss_cls = dict(type="ghm_mmdet.OHEMLoss", use_sigmoid=True, per_image=True)
    losses, rows, labels, weights, avg_factor = losses_of(head_with(loss_cls, density_scope=scope))
    groups = list(zip(rows, labels, weights))
    if scope == "batch":
        groups = [tuple(torch.cat(level, dim=1) for level in (rows, labels, weights))]
    expected = [
        sum(ohem_loss(*(value[image] for value in group)).sum().item() for image in (0, 1)) / avg_factor
        for group in groups
    ]
    assert sum(loss.item() for loss in losses) == pytest.approx(sum(expected))


def test_an_image_without_objects_still_teaches_the_background():
    logits, labels = torch.zeros(20, 2, requires_grad=True), torch.full((20,), 2)
    labels[3] = 0
    loss = OHEMLoss(per_image=True)
    loss.num_images = 2
    (gradient,) = torch.autograd.grad(loss(logits, labels), logits)
    assert gradient[:10].any(1).sum() == 4 and gradient[10:].any(1).sum() == 3


def test_mmdets_own_head_does_not_say_how_many_images_there_are():
    head = head_with(dict(type="ghm_mmdet.OHEMLoss", use_sigmoid=True, per_image=True), "mmdet.RetinaHead")
    with pytest.raises(ValueError, match=r"num_images.*ghm_mmdet\.RetinaHead"):
        losses_of(head)


def test_less_than_cross_entropy():
    ours, *_ = losses_of(head_with(dict(type="ghm_mmdet.OHEMLoss", use_sigmoid=True)))
    theirs, *_ = losses_of(head_with(dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True)))
    assert 0 < sum(ours) < 0.5 * sum(theirs)
