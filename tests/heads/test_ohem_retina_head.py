import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ghm_mmdet.heads.hard_anchors import hard_anchors

CE = dict(type="mmdet.CrossEntropyLoss", use_sigmoid=True)
L1 = dict(type="mmdet.L1Loss")


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def naive_choice(score, boxes, positive, threshold, num, ratio):
    """NMS over every anchor with plain loops, then the choice."""
    left = []
    for index in sorted(range(len(score)), key=lambda i: -score[i]):
        if all(iou(boxes[index], boxes[other]) <= threshold for other in left):
            left.append(index)
    if ratio is None:
        return set(left[:num])
    positives = [i for i in left if positive[i]]
    if num is not None:
        positives = positives[: max(1, int(num / (1 + ratio)))]
    negatives = [i for i in left if not positive[i]]
    wanted = int(ratio * max(len(positives), 1))
    if num is not None:
        wanted = min(wanted, num - len(positives))
    return set(positives + negatives[:wanted])


def random_anchors(count, seed, positives=0.05):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 60
    boxes = torch.cat((corner, corner + 10 + torch.rand(count, 2, generator=generator) * 30), 1)
    positive = torch.rand(count, generator=generator) < positives
    return torch.rand(count, generator=generator), boxes, positive


@pytest.mark.parametrize(("num", "ratio"), [(2, 3), (3, 3), (1, 3), (5, 100)])
def test_room_for_fewer_than_the_ratio_asks(num, ratio):
    """The hardest positive is kept, and never more anchors than num."""
    score, boxes, positive = random_anchors(200, 1, positives=0.3)
    kept = hard_anchors(score, boxes, positive, num=num, neg_pos_ratio=ratio)
    assert positive[kept].sum() == 1
    assert len(kept) == num
    alone = hard_anchors(score, boxes, torch.zeros_like(positive), num=num, neg_pos_ratio=ratio)
    assert len(alone) == min(num, ratio)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 200),
    seed=st.integers(0, 2**31),
    threshold=st.sampled_from([0.3, 0.7]),
    num=st.sampled_from([None, 1, 5, 128]),
    ratio=st.sampled_from([None, 0.5, 3]),
    positives=st.sampled_from([0.0, 0.05, 0.5]),
)
def test_choice_equals_naive(count, seed, threshold, num, ratio, positives):
    if num is None and ratio is None:
        num = 3
    score, boxes, positive = random_anchors(count, seed, positives)
    kept = hard_anchors(score, boxes, positive, iou_threshold=threshold, num=num, neg_pos_ratio=ratio).tolist()
    assert len(kept) == len(set(kept))
    assert set(kept) == naive_choice(*(t.tolist() for t in (score, boxes, positive)), threshold, num, ratio)


def test_equal_scores_keep_their_order():
    _, boxes, positive = random_anchors(300, 0)
    kept = hard_anchors(torch.zeros(300), boxes, positive, num=4)
    expected = naive_choice([0.0] * 300, boxes.tolist(), positive.tolist(), 0.7, 4, None)
    assert set(kept.tolist()) == expected


def test_nms_goes_on_until_enough_are_left():
    """1,000 copies of the hardest box come before the second box."""
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(1001, 1)
    boxes[1000] += 50
    score = torch.linspace(2, 1, 1001)
    kept = hard_anchors(score, boxes, torch.zeros(1001, dtype=torch.bool), num=2)
    assert kept.tolist() == [0, 1000]


def softplus(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


@pytest.mark.parametrize("options", [dict(num=6), dict(num=None, neg_pos_ratio=3), dict(num=8, neg_pos_ratio=1)])
def test_losses_equal_naive(head_of, batch_of, options):
    head = head_of("ghm_mmdet.OHEMRetinaHead", CE, L1, **options)
    batch = batch_of(head)
    losses = batch.losses(head)

    sizes = [score.shape[-2:] for score in batch.cls_scores]
    anchors, flags = head.get_anchors(sizes, batch.metas, device="cpu")
    targets = head.get_targets(anchors, flags, batch.gt_instances, batch.metas)[:4]
    total_cls = total_bbox = kept_anchors = 0
    for image in range(2):
        labels, weights, bbox_targets, bbox_weights = (torch.cat([level[image] for level in t]) for t in targets)
        logits = torch.cat([m[image].permute(1, 2, 0).reshape(-1, 3) for m in batch.cls_scores]).tolist()
        deltas = torch.cat([m[image].permute(1, 2, 0).reshape(-1, 4) for m in batch.bbox_preds])
        boxes = head.bbox_coder.decode(torch.cat(anchors[image]), deltas).tolist()
        loss = [sum(softplus(-x if c == label else x) for c, x in enumerate(row)) for row, label in zip(logits, labels)]
        valid = [i for i, w in enumerate(weights.tolist()) if w > 0]
        chosen = naive_choice(
            [loss[i] for i in valid],
            [boxes[i] for i in valid],
            [labels[i] < 3 for i in valid],
            0.7,
            options["num"],
            options.get("neg_pos_ratio"),
        )
        kept_anchors += len(chosen)
        for i in (valid[c] for c in chosen):
            total_cls += loss[i]
            distance = (deltas[i] - bbox_targets[i]).abs() * bbox_weights[i]
            total_bbox += distance.sum().item()
    assert kept_anchors > 4
    assert losses["loss_cls"].item() == pytest.approx(total_cls / kept_anchors, rel=1e-5)
    assert losses["loss_bbox"].item() == pytest.approx(total_bbox / kept_anchors, rel=1e-5)
    gradient = batch.rows(batch.gradients(losses["loss_cls"])[:3], 3)
    assert int(gradient.any(dim=1).sum()) == kept_anchors


@pytest.mark.parametrize(("options", "negatives"), [(dict(num=7), 14), (dict(num=None, neg_pos_ratio=3), 6)])
def test_no_objects(head_of, batch_of, options, negatives):
    """The hardest negatives of both images; with a ratio those that go with one positive."""
    head = head_of("ghm_mmdet.OHEMRetinaHead", CE, L1, **options)
    batch = batch_of(head, objects=(0, 0))
    losses = batch.losses(head)
    assert losses["loss_cls"] > 0 and losses["loss_bbox"] == 0
    gradient = batch.rows(batch.gradients(sum(losses.values()))[:3], 3)
    assert int(gradient.any(dim=1).sum()) == negatives


@pytest.mark.parametrize(
    ("name", "got", "arguments"),
    [
        ("num", "0", dict(num=0)),
        ("num", "1.5", dict(num=1.5)),
        ("neither", "num", dict(num=None)),
        ("neg_pos_ratio", "-1", dict(neg_pos_ratio=-1)),
        ("ohem_iou_threshold", "7", dict(ohem_iou_threshold=7)),
        ("density_scope", "'level'", dict(density_scope="level")),
    ],
)
def test_bad_arguments_are_named(head_of, name, got, arguments):
    with pytest.raises(ValueError, match=name) as error:
        head_of("ghm_mmdet.OHEMRetinaHead", CE, L1, **arguments)
    assert got in str(error.value)


def test_loss_with_a_state_is_refused(head_of):
    with pytest.raises(ValueError, match="GHMC keeps a state"):
        head_of("ghm_mmdet.OHEMRetinaHead", dict(type="ghm_mmdet.GHMC", use_sigmoid=True), L1)
