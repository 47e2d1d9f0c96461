"""The sampler in mmdet's own RoI head, against losses computed RoI by RoI."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from small_detectors import roi_head_config

CLASSES = 3


def roi_head(**options):
    torch.manual_seed(0)
    sampler = dict(type="ghm_mmdet.StratifiedOHEMSampler", num=10, **options)
    return MODELS.build(roi_head_config("mmdet.StandardRoIHead", sampler, CLASSES))


def scene(seed=0, count=40, objects=3):
    """Features of an image, boxes, ground truths, and which boxes are whose: a third of them an object's."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 40
    boxes = torch.cat((corner, corner + 8 + torch.rand(count, 2, generator=generator) * 16), 1)
    truths = InstanceData(bboxes=boxes[:objects] + 1.0, labels=torch.arange(objects))
    owner = torch.arange(count) % (3 * max(objects, 1)) + 1
    owner = torch.where(owner <= objects, owner, 0)
    labels = torch.where(owner > 0, owner - 1, -1)
    result = AssignResult(objects, owner, torch.zeros(count), labels)
    return [torch.randn(1, 4, 8, 8, generator=generator) * 3], InstanceData(priors=boxes), truths, result


def naive_losses(head, feats, boxes, truths, owner):
    """Of each RoI by itself: cross-entropy, and the sum of the distances of its coded box."""
    losses = []
    for box, number in zip(boxes, owner.tolist()):
        roi = torch.cat((torch.zeros(1), box)).unsqueeze(0)
        score, delta = head.bbox_head(head.bbox_roi_extractor(feats, roi))
        label = int(truths.labels[number - 1]) if number else CLASSES
        cls = -score.log_softmax(1)[0, label].item()
        loc = 0.0
        if number:
            target = head.bbox_head.bbox_coder.encode(box.unsqueeze(0), truths.bboxes[number - 1 : number])[0]
            loc = (delta[0, 4 * label : 4 * label + 4] - target).abs().sum().item()
        losses.append((cls, loc))
    return losses


def naive_choice(losses, num, parts):
    hardness = [cls + loc for cls, loc in losses]
    order = sorted(range(len(losses)), key=lambda i: -hardness[i])
    stratum = [min(int(cls / total * len(parts)), len(parts) - 1) for (cls, _), total in zip(losses, hardness)]
    chosen = [i for k, part in enumerate(parts) for i in [i for i in order if stratum[i] == k][: int(num * part)]]
    return set(chosen + [i for i in order if i not in chosen][: num - len(chosen)])


@pytest.mark.parametrize("parts", [(1.0,), (0.25,) * 4, (0.6, 0.2, 0.2)])
@pytest.mark.parametrize("gt", [False, True])
def test_equals_naive(parts, gt):
    head = roi_head(strata=parts, add_gt_as_proposals=gt)
    feats, boxes, truths, result = scene()
    priors = torch.cat((truths.bboxes, boxes.priors)) if gt else boxes.priors
    owner = torch.cat((torch.arange(3) + 1, result.gt_inds)) if gt else result.gt_inds.clone()
    sampled = head.bbox_sampler.sample(result, boxes, truths, feats=feats)
    expected = naive_choice(naive_losses(head, feats, priors, truths, owner), 10, parts)
    assert set(sampled.pos_inds.tolist()) | set(sampled.neg_inds.tolist()) == expected
    assert len(sampled.pos_inds) + len(sampled.neg_inds) == 10
    assert set(sampled.pos_inds.tolist()) == {i for i in expected if owner[i] > 0}
    assert all(p.grad is None for p in head.parameters())


def test_few_rois_are_all_taken():
    feats, boxes, truths, result = scene(count=7)
    sampled = roi_head().bbox_sampler.sample(result, boxes, truths, feats=feats)
    assert len(sampled.pos_inds) + len(sampled.neg_inds) == 10  # and the three ground truths


def test_ignored_rois_stay_out():
    feats, boxes, truths, result = scene()
    result.gt_inds[:20] = -1
    sampled = roi_head(add_gt_as_proposals=False).bbox_sampler.sample(result, boxes, truths, feats=feats)
    assert min(sampled.pos_inds.tolist() + sampled.neg_inds.tolist()) >= 20


def test_no_objects():
    feats, boxes, truths, result = scene(objects=0)
    sampled = roi_head().bbox_sampler.sample(result, boxes, truths, feats=feats)
    assert len(sampled.pos_inds) == 0 and len(sampled.neg_inds) == 10


def test_losses_of_the_head():
    """A training step of the head from proposals, one image without objects."""
    head = roi_head()
    feats, boxes, truths, _ = scene()
    empty = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    samples = [DetDataSample(gt_instances=instances) for instances in (truths, empty)]
    proposals = [InstanceData(bboxes=boxes.priors.clone()) for _ in range(2)]
    losses = head.loss((feats[0].repeat(2, 1, 1, 1),), proposals, samples)
    (losses["loss_cls"] + losses["loss_bbox"]).backward()
    assert losses["loss_cls"] > 0 and losses["loss_bbox"] > 0
    assert all(torch.isfinite(p.grad).all() and p.grad.any() for p in head.bbox_head.parameters())


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("sum 1", dict(strata=(0.5, 0.2))),
        ("cls_weight must be", dict(cls_weight=-1)),
        ("loc_weight", dict(loc_weight=-1)),
    ],
)
def test_bad_arguments_are_named(message, options):
    with pytest.raises(ValueError, match=message):
        roi_head(**options)
