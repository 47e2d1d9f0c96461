import math

import oracles
import pytest
import torch

SOFT_FOCAL = dict(type="ghm_mmdet.SoftFocalLoss", gamma=2.0, alpha=0.5, use_sigmoid=True)
SMOOTH_L1 = dict(type="mmdet.SmoothL1Loss", beta=0.11)
L1 = dict(type="mmdet.L1Loss")
TOP_N = dict(
    assigner=dict(type="ghm_mmdet.TopNIoUAssigner", num=4),
    sampler=dict(type="mmdet.PseudoSampler"),
    allowed_border=-1,
    pos_weight=-1,
)


def naive_iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def decode(box, deltas):
    dx, dy, dw, dh = deltas
    w, h = box[2] - box[0], box[3] - box[1]
    cx, cy, w2, h2 = box[0] + w / 2 + dx * w, box[1] + h / 2 + dy * h, w * math.exp(dw), h * math.exp(dh)
    return [cx - w2 / 2, cy - h2 / 2, cx + w2 / 2, cy + h2 / 2]


def soft_focal(x, t):
    p = oracles.sigmoid(x)
    return -0.5 * t * (1 - p) ** 2 * math.log(p) - 0.5 * (1 - t) * p**2 * math.log(1 - p)


def anchors_of(head, batch):
    """Logits, predicted deltas, anchors, labels, their weights and box targets of each image, over all levels."""
    sizes = [score.shape[-2:] for score in batch.cls_scores]
    anchors = torch.cat(head.prior_generator.grid_priors(sizes, device="cpu")).tolist()
    levels, flags = head.get_anchors(sizes, batch.metas, device="cpu")
    targets = head.get_targets(levels, flags, batch.gt_instances, batch.metas)[:3]
    for image in range(2):
        logits, deltas = (
            torch.cat([level[image].permute(1, 2, 0).reshape(-1, size) for level in maps]).tolist()
            for maps, size in ((batch.cls_scores, 3), (batch.bbox_preds, 4))
        )
        columns = [torch.cat([level[image] for level in value]).tolist() for value in targets]
        yield list(zip(logits, deltas, anchors, *columns))


@pytest.mark.parametrize(("alpha", "gamma", "rescale"), [(0.75, 1.0, True), (0.5, 2.0, False), (1.0, 0.0, False)])
def test_losses_equal_naive(head_of, batch_of, alpha, gamma, rescale):
    options = dict(alpha=alpha, gamma=gamma, rescale=rescale)
    head = head_of("ghm_mmdet.NoisyAnchorRetinaHead", SOFT_FOCAL, L1, train_cfg=TOP_N, **options)
    batch = batch_of(head)
    losses = batch.losses(head)
    plain_cls = weighted_cls = plain_bbox = weighted_bbox = 0.0
    slopes, positives = [], 0
    for image in anchors_of(head, batch):
        chosen = [row for row in image if row[3] < 3]
        positives += len(chosen)
        loc = [naive_iou(decode(box, deltas), decode(box, target)) for _, deltas, box, _, _, target in chosen]
        cls = [oracles.sigmoid(logits[label]) for logits, _, _, label, _, _ in chosen]
        mean = sum(loc) / len(loc)
        if rescale:
            c = [alpha * a / mean + (1 - alpha) * b * len(cls) / sum(cls) for a, b in zip(loc, cls)]
            soft = [mean + (x - min(c)) * (1 - mean) / (max(c) - min(c)) for x in c]
        else:
            soft = [alpha * a + (1 - alpha) * b for a, b in zip(loc, cls)]
        f = [[1 / (1 - x) for x in values] for values in (loc, cls)]
        means = [sum(values) / len(values) for values in f]
        trust = [(alpha * a / means[0] + (1 - alpha) * b / means[1]) ** gamma for a, b in zip(*f)]
        place = iter(zip(soft, trust))
        for logits, deltas, _, label, _, target in image:
            t, r = next(place) if label < 3 else (0.0, 1.0)
            for column, x in enumerate(logits):
                loss = soft_focal(x, t if column == label else 0.0)
                plain_cls += loss
                weighted_cls += r * loss
            distance = sum(abs(a - b) for a, b in zip(deltas, target)) if label < 3 else 0.0
            plain_bbox += distance
            weighted_bbox += r * distance
            slopes.append(r if label < 3 else 0.0)
    assert positives > 4
    assert losses["loss_cls"].item() == pytest.approx(plain_cls / positives, rel=1e-4)
    assert losses["loss_bbox"].item() == pytest.approx(plain_bbox / positives, rel=1e-4)
    if gamma:
        assert weighted_bbox != pytest.approx(plain_bbox, rel=1e-3)
    # The gradient of a box is that of its weighted loss, the loss having its plain value.
    gradient = batch.gradients(losses["loss_bbox"])[3:]
    got = torch.cat([batch.rows([level[i : i + 1] for level in gradient], 4) for i in range(2)])[:, 0].abs()
    expected = torch.tensor(slopes) * plain_bbox / weighted_bbox / positives
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)


def test_labels_and_weights_drawn_by_hand(head_of):
    """Two positives of one ground truth, one background anchor; the first box is predicted right in all but a half."""
    head = head_of("ghm_mmdet.NoisyAnchorRetinaHead", SOFT_FOCAL, L1, train_cfg=TOP_N)
    anchors = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]]])
    # The ground truth is the anchor itself. Half as wide: IoU 1/2. Twice as wide and high: IoU 1/4.
    half, twice = math.log(0.5), math.log(2.0)
    deltas = torch.tensor([[[0, 0, half, 0], [0, 0, twice, twice], [0, 0, 0, 0]]])
    logits = torch.tensor([[[9.0, 0.0, 9.0], [9.0, math.log(1 / 3), 9.0], [9.0, 9.0, 9.0]]])
    soft, trust = head.soft_labels(logits, deltas, anchors, torch.tensor([[1, 1, 3]]), torch.zeros(1, 3, 4))
    # loc 1/2, 1/4 and cls 1/2, 1/4: the mean is 3/8. f = 2, 4/3 with mean 5/3.
    assert soft[0].tolist() == [[0, pytest.approx(1), 0], [0, pytest.approx(3 / 8), 0], [0, 0, 0]]
    assert trust[0].tolist() == pytest.approx([6 / 5, 4 / 5, 1])
    head.rescale = False
    soft, _ = head.soft_labels(logits, deltas, anchors, torch.tensor([[1, 1, 3]]), torch.zeros(1, 3, 4))
    assert soft[0, :, 1].tolist() == pytest.approx([1 / 2, 1 / 4, 0])


def test_classification_does_not_reach_the_boxes(head_of, batch_of):
    head = head_of("ghm_mmdet.NoisyAnchorRetinaHead", SOFT_FOCAL, L1, train_cfg=TOP_N)
    batch = batch_of(head)
    gradients = batch.gradients(batch.losses(head)["loss_cls"])
    assert any(g.any() for g in gradients[:3]) and not any(g.any() for g in gradients[3:])


@pytest.mark.parametrize("objects", [(0, 0), (2, 0)])
def test_images_without_objects(head_of, batch_of, objects):
    head = head_of("ghm_mmdet.NoisyAnchorRetinaHead", SOFT_FOCAL, SMOOTH_L1, train_cfg=TOP_N)
    batch = batch_of(head, objects=objects)
    losses = batch.losses(head)
    sum(losses.values()).backward()
    assert losses["loss_cls"] > 0 and (losses["loss_bbox"] > 0) == (objects[0] > 0)
    assert all(torch.isfinite(score.grad).all() for score in batch.cls_scores)


def test_varifocal_loss_gets_the_iou_as_target(head_of, batch_of):
    varifocal = dict(type="mmdet.VarifocalLoss", use_sigmoid=True, alpha=0.75, gamma=2.0)
    head = head_of("ghm_mmdet.NoisyAnchorRetinaHead", varifocal, L1, alpha=1.0, gamma=0.0, rescale=False)
    batch = batch_of(head)
    total, positives = 0.0, 0
    for image in anchors_of(head, batch):
        for logits, deltas, box, label, weight, target in image:
            positives += label < 3
            for column, x in enumerate(logits):
                q = naive_iou(decode(box, deltas), decode(box, target)) if column == label else 0.0
                total += weight * oracles.bce(x, q) * (q if q > 0 else 0.75 * oracles.sigmoid(x) ** 2)
    assert positives > 2
    assert batch.losses(head)["loss_cls"].item() == pytest.approx(total / positives, rel=1e-4)


def test_decoded_boxes_have_the_same_labels(head_of, batch_of):
    losses = []
    for decoded, loss_bbox in ((False, L1), (True, dict(type="mmdet.GIoULoss"))):
        options = dict(train_cfg=TOP_N, reg_decoded_bbox=decoded)
        head = head_of("ghm_mmdet.NoisyAnchorRetinaHead", SOFT_FOCAL, loss_bbox, **options)
        losses.append(batch_of(head).losses(head)["loss_cls"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("message", "loss_cls", "options"),
    [
        ("alpha must be a number in", SOFT_FOCAL, dict(alpha=2)),
        ("gamma must be", SOFT_FOCAL, dict(gamma=-1)),
        ("density_scope must be 'batch'", SOFT_FOCAL, dict(density_scope="level")),
        ("write use_sigmoid=True", dict(type="mmdet.CrossEntropyLoss", use_sigmoid=False), {}),
        ("GHMC keeps a state", dict(type="ghm_mmdet.GHMC", use_sigmoid=True), {}),
    ],
)
def test_bad_arguments_are_named(head_of, message, loss_cls, options):
    with pytest.raises(ValueError, match=message):
        head_of("ghm_mmdet.NoisyAnchorRetinaHead", loss_cls, L1, train_cfg=TOP_N, **options)
