import math

import oracles
import pytest
import torch
from mmengine.structures import InstanceData

from ghm_mmdet.functional import cleanliness
from ghm_mmdet.task_modules import TopNIoUAssigner

GHMC = dict(type="ghm_mmdet.GHMC", bins=10, momentum=0.75, use_sigmoid=True)
SMOOTH_L1 = dict(type="mmdet.SmoothL1Loss", beta=0.11)


def train_cfg(num=4):
    return dict(assigner=dict(type="ghm_mmdet.TopNIoUAssigner", num=num), allowed_border=-1, pos_weight=-1)


def naive_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def naive_assignment(anchors, truths, num):
    """The ground truth of each anchor, counted from 1, or 0."""
    owner, best = [0] * len(anchors), [0.0] * len(anchors)
    for number, truth in enumerate(truths, 1):
        overlap = [naive_iou(truth, anchor) for anchor in anchors]
        for index in sorted(range(len(anchors)), key=lambda i: -overlap[i])[:num]:
            if overlap[index] > best[index]:
                owner[index], best[index] = number, overlap[index]
    return owner


def assign(anchors, truths, num, labels=None):
    truths = torch.tensor(truths, dtype=torch.float32).view(-1, 4)
    labels = torch.arange(len(truths)) if labels is None else torch.tensor(labels)
    return TopNIoUAssigner(num).assign(InstanceData(priors=anchors), InstanceData(bboxes=truths, labels=labels))


@pytest.mark.parametrize("num", [1, 5, 100])
@pytest.mark.parametrize("seed", range(5))
def test_assignment_equals_naive(num, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(86, 2, generator=generator) * 60
    boxes = torch.cat((corner, corner + 5 + torch.rand(86, 2, generator=generator) * 40), 1)
    anchors, truths = boxes[:80], boxes[80:].tolist()
    result = assign(anchors, truths, num, labels=[3, 1, 4, 1, 5, 9])
    expected = naive_assignment(anchors.tolist(), truths, num)
    assert result.gt_inds.tolist() == expected
    assert result.labels.tolist() == [[-1, 3, 1, 4, 1, 5, 9][owner] for owner in expected]
    overlaps = [max(naive_iou(truth, anchor) for truth in truths) for anchor in anchors.tolist()]
    assert result.max_overlaps.tolist() == pytest.approx(overlaps, abs=1e-6)


def test_ties_and_edges_of_the_assignment():
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [100, 100, 110, 110]])
    # Equal anchors: the first. Equal ground truths: the first. No overlap: no positive, however large N is.
    assert assign(anchors, [[0, 0, 10, 8]], 1).gt_inds.tolist() == [1, 0, 0]
    assert assign(anchors, [[0, 0, 10, 8], [0, 0, 10, 8]], 3).gt_inds.tolist() == [1, 1, 0]
    assert assign(anchors, [[0, 0, 10, 5], [0, 0, 10, 8]], 3).gt_inds.tolist() == [2, 2, 0]
    assert assign(anchors, [[5, 5, 5, 5]], 3).gt_inds.tolist() == [0, 0, 0]
    assert assign(anchors, [], 3).gt_inds.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="num must be an integer of at least 1"):
        TopNIoUAssigner(0)


def test_cleanliness_is_its_formula_without_gradient():
    loc = torch.tensor([0.2, 1.0], requires_grad=True)
    cls = torch.tensor([0.6, 0.0], requires_grad=True)
    soft = cleanliness(loc, cls, 0.75)
    assert soft.tolist() == pytest.approx([0.75 * 0.2 + 0.25 * 0.6, 0.75]) and not soft.requires_grad
    assert cleanliness(loc, cls, 1).tolist() == pytest.approx([0.2, 1.0])
    assert cleanliness(loc, cls, 0).tolist() == pytest.approx([0.6, 0.0])
    for wrong in (-0.1, 1.1, math.nan, "a"):
        with pytest.raises(ValueError, match="alpha must be a number in"):
            cleanliness(loc, cls, wrong)
    with pytest.raises(ValueError, match=r"confidence must have the shape of localization, \(2,\)"):
        cleanliness(loc, cls[:1])


@pytest.mark.parametrize("scope", ["level", "batch"])
@pytest.mark.parametrize("alpha", [0.5, 0.75])
def test_losses_equal_naive(head_of, batch_of, scope, alpha):
    """From the boxes themselves, not from mmdet's targets."""
    head = head_of(
        "ghm_mmdet.CleanRPNHead", GHMC, SMOOTH_L1, rpn=True, train_cfg=train_cfg(), density_scope=scope, alpha=alpha
    )
    batch = batch_of(head, labels=1)
    losses = batch.losses(head)
    anchors = [
        level.tolist()
        for level in head.prior_generator.grid_priors([s.shape[-2:] for s in batch.cls_scores], device="cpu")
    ]
    owners = [
        naive_assignment(sum(anchors, []), truth.bboxes.tolist(), num=4)  # noqa: RUF017
        for truth in batch.gt_instances
    ]
    levels, distance, positives, start = [], 0.0, 0, 0
    for level, boxes in enumerate(anchors):
        logits, soft = [], []
        for image, truth in enumerate(batch.gt_instances):
            scores = batch.cls_scores[level][image].permute(1, 2, 0).flatten().tolist()
            deltas = batch.bbox_preds[level][image].permute(1, 2, 0).reshape(-1, 4).tolist()
            for k, (x, (dx, dy, dw, dh), box) in enumerate(zip(scores, deltas, boxes)):
                owner = owners[image][start + k]
                logits.append(x)
                if owner == 0:
                    soft.append(0.0)
                    continue
                positives += 1
                target = truth.bboxes[owner - 1].tolist()
                w, h = box[2] - box[0], box[3] - box[1]
                cx, cy = box[0] + w / 2 + dx * w, box[1] + h / 2 + dy * h
                w2, h2 = w * math.exp(dw), h * math.exp(dh)
                predicted = [cx - w2 / 2, cy - h2 / 2, cx + w2 / 2, cy + h2 / 2]
                soft.append(alpha * naive_iou(predicted, target) + (1 - alpha) * oracles.sigmoid(x))
                tw, th = target[2] - target[0], target[3] - target[1]
                encoded = (
                    (target[0] + tw / 2 - box[0] - w / 2) / w,
                    (target[1] + th / 2 - box[1] - h / 2) / h,
                    math.log(tw / w),
                    math.log(th / h),
                )
                for p, t in zip((dx, dy, dw, dh), encoded):
                    d = abs(p - t)
                    distance += 0.5 * d * d / 0.11 if d < 0.11 else d - 0.5 * 0.11
        levels.append((logits, soft))
        start += len(boxes)
    if scope == "batch":
        levels = [tuple(sum(column, []) for column in zip(*levels))]  # noqa: RUF017
    average = oracles.MovingAverage(10, 0.75)
    expected = sum(oracles.ghm_c(x, c, [True] * len(x), 10, average).loss for x, c in levels)
    assert positives > 4
    assert losses["loss_rpn_cls"].item() == pytest.approx(expected, rel=1e-4)
    assert losses["loss_rpn_bbox"].item() == pytest.approx(distance / positives, rel=1e-4)
    assert head.loss_cls.acc_sum.tolist() == pytest.approx(average.sums, rel=1e-5)


def test_soft_label_has_no_gradient(head_of, batch_of):
    """The classification loss does not reach the boxes."""
    head = head_of("ghm_mmdet.CleanRPNHead", GHMC, SMOOTH_L1, rpn=True, train_cfg=train_cfg())
    batch = batch_of(head, labels=1)
    gradients = batch.gradients(batch.losses(head)["loss_rpn_cls"])
    assert any(g.any() for g in gradients[:3]) and not any(g.any() for g in gradients[3:])


def test_no_objects(head_of, batch_of):
    head = head_of("ghm_mmdet.CleanRPNHead", GHMC, SMOOTH_L1, rpn=True, train_cfg=train_cfg())
    batch = batch_of(head, objects=(0, 0))
    losses = batch.losses(head)
    sum(losses.values()).backward()
    assert losses["loss_rpn_cls"] > 0 and losses["loss_rpn_bbox"] == 0
    assert any(score.grad.any() for score in batch.cls_scores)


def test_decoded_regression_targets(head_of, batch_of):
    """With reg_decoded_bbox the targets are boxes; the soft labels are the same."""
    losses = []
    for decoded in (False, True):
        head = head_of(
            "ghm_mmdet.CleanRPNHead", GHMC, SMOOTH_L1, rpn=True, train_cfg=train_cfg(), reg_decoded_bbox=decoded
        )
        losses.append(batch_of(head, labels=1).losses(head)["loss_rpn_cls"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_bad_arguments_are_named(head_of):
    with pytest.raises(ValueError, match="alpha must be a number in"):
        head_of("ghm_mmdet.CleanRPNHead", GHMC, SMOOTH_L1, rpn=True, alpha=2)
    softmax = dict(type="mmdet.CrossEntropyLoss", use_sigmoid=False)
    with pytest.raises(ValueError, match="write use_sigmoid=True into loss_cls of CleanRPNHead"):
        head_of("ghm_mmdet.CleanRPNHead", softmax, SMOOTH_L1, rpn=True)
