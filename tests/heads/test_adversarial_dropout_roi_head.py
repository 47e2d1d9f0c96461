"""The RoI head with an adversary, alone and in mmdet's Faster R-CNN."""

from __future__ import annotations

import oracles
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from small_detectors import roi_head_config

CLASSES = 3
JOINT = dict(policy="joint", occluded_images=1.0)


def roi_head(**options):
    torch.manual_seed(0)
    sampler = dict(type="mmdet.RandomSampler", num=16, pos_fraction=0.5)
    head = MODELS.build(roi_head_config("ghm_mmdet.AdversarialDropoutRoIHead", sampler, CLASSES, **options))
    # Weights at which occlusions matter, the same with an adversary and without.
    torch.manual_seed(0)
    for layer in head.bbox_head.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.kaiming_normal_(layer.weight)
    return head


def batch(objects=(3, 2), seed=0):
    """Features, proposals and ground truths of two images."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 4, 8, 8, generator=generator)
    proposals, samples = [], []
    for count in objects:
        corner = torch.rand(20, 2, generator=generator) * 40
        boxes = torch.cat((corner, corner + 8 + torch.rand(20, 2, generator=generator) * 16), 1)
        labels = torch.arange(count) % CLASSES
        samples.append(DetDataSample(gt_instances=InstanceData(bboxes=boxes[:count] + 1.0, labels=labels)))
        proposals.append(InstanceData(bboxes=boxes))
    return (features.requires_grad_(),), proposals, samples


class Seen:
    """What reaches the box head, with how it is called."""

    def __init__(self, head):
        self.features = []
        head.bbox_head.register_forward_pre_hook(lambda _, inputs: self.features.append(inputs[0].detach()))

    def training(self):
        """Those of all RoIs; to score it is given the positives alone."""
        return max(self.features, key=len)


def occlusions(plain, occluded):
    """Which cells are zero in all channels of the second and not in the first."""
    return (occluded == 0).all(1) & (plain != 0).any(1)


def probability(head, features, label):
    return head.bbox_head(features.unsqueeze(0))[0][0].softmax(0)[label].item()


def train(head, inputs):
    torch.manual_seed(1)
    return head.loss(*inputs)


def labels_of(head, inputs):
    """Labels of the RoIs in the order of the box head, by the same draws of the sampler."""
    kept = []
    original = head.bbox_head.get_targets

    def get_targets(*args, **kwargs):
        targets = original(*args, **kwargs)
        kept.append(targets[0])
        return targets

    head.bbox_head.get_targets = get_targets
    losses = train(head, inputs)
    head.bbox_head.get_targets = original
    return kept[0], losses


@torch.no_grad()
def naive_hardest_window(head, features, label):
    """By trying all windows of 2 x 2 with stride 2, the last ones moved in."""
    best = None
    for top in (0, 2, 4, 5):
        for left in (0, 2, 4, 5):
            mask = torch.zeros(7, 7, dtype=torch.bool)
            mask[top : top + 2, left : left + 2] = True
            hidden = features.clone()
            hidden[:, mask] = 0
            score = probability(head, hidden, label)
            if best is None or score < best[0]:
                best = (score, mask)
    return best[1]


def plain_features(head, inputs):
    """The RoI features without occlusion, by a head that never occludes."""
    head.occluded_images = 0.0
    seen = Seen(head)
    labels, _ = labels_of(head, inputs)
    return seen.training(), labels


def test_window_policy_hides_the_hardest_window_of_positives():
    head = roi_head(policy="window", occluded_images=1.0)
    plain, labels = plain_features(head, batch())
    head.occluded_images = 1.0
    seen = Seen(head)
    losses = train(head, batch())
    hidden = occlusions(plain, seen.training())
    assert "loss_adversary" not in losses and not hasattr(head, "adversary")
    assert (labels < CLASSES).sum() > 4
    for features, cells, label in zip(plain, hidden, labels.tolist()):
        if label == CLASSES:
            assert not cells.any()
        else:
            assert torch.equal(cells, naive_hardest_window(head, features, label))
    kept = ~hidden.unsqueeze(1).expand_as(plain)
    assert torch.equal(seen.training()[kept], plain[kept])


@pytest.mark.parametrize("weight", [1.0, 0.0025])
def test_joint_loss_equals_naive(weight):
    """Cross-entropy with the drawn cells of the RoIs whose score fell by more than 0.02."""
    head = roi_head(**JOINT, score_drop=0.02, joint_weight=weight)
    plain, labels = plain_features(head, batch())
    head.occluded_images = 1.0
    seen = Seen(head)
    loss = train(head, batch())["loss_adversary"].item()
    occluded = seen.training()
    hidden = occlusions(plain, occluded)
    total, count, learned = 0.0, 0, 0
    for features, hard, cells, label in zip(plain, occluded, hidden, labels.tolist()):
        if label == CLASSES:
            assert not cells.any()
            continue
        logits = head.adversary(features.unsqueeze(0))[0]
        assert cells.sum() == 15 and cells.flatten()[logits.flatten().topk(20).indices].sum() == 15
        count += 49
        if probability(head, hard, label) + 0.02 < probability(head, features, label):
            learned += 1
            total += sum(oracles.bce(x, t) for x, t in zip(logits.flatten().tolist(), cells.flatten().tolist()))
    assert 0 < learned < count // 49
    assert loss == pytest.approx(weight * total / count, rel=1e-4)


def test_pretraining_points_at_the_hardest_window(monkeypatch):
    """Nothing is occluded; the cells outside the window count in part."""
    head = roi_head(**JOINT, pretrain_steps=2)
    plain, labels = plain_features(head, batch())
    head.adversary_steps.zero_()
    head.occluded_images = 1.0
    monkeypatch.setattr("ghm_mmdet.heads.adversarial_dropout_roi_head.KEPT_CELLS", 1.0)
    losses = [train(head, batch()) for _ in range(3)]
    total, count = 0.0, 0
    for features, label in zip(plain, labels.tolist()):
        if label < CLASSES:
            logits = head.adversary(features.unsqueeze(0))[0]
            target = naive_hardest_window(head, features, label)
            total += sum(oracles.bce(x, t) for x, t in zip(logits.flatten().tolist(), target.flatten().tolist()))
            count += 49
    assert [loss["loss_adversary"].item() for loss in losses[:2]] == [pytest.approx(total / count, rel=1e-4)] * 2
    assert losses[0]["loss_cls"] == losses[1]["loss_cls"] != losses[2]["loss_cls"]
    assert head.adversary_steps == 3 and "adversary_steps" in head.state_dict()


def test_adversary_learns_the_hardest_window():
    head = roi_head(**JOINT, pretrain_steps=1000)
    optimizer = torch.optim.Adam(head.adversary.parameters(), lr=0.01)
    inputs = batch()
    plain, labels = plain_features(head, inputs)
    positives = (labels < CLASSES).nonzero().squeeze(1)
    windows = head.hardest_window(plain[positives], labels[positives])
    # The detector stays as it is, and so do the windows.
    head.hardest_window = lambda *_: windows
    target = windows.flatten(1).float()

    def found():
        return target.gather(1, head.adversary(plain[positives]).flatten(1).topk(4).indices).mean()

    before = found()
    for _ in range(100):
        loss = head.pretraining_loss(plain[positives], labels[positives])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # By chance 4 of 49 cells are.
    assert before < 0.25 < 0.5 < found()


def test_gradients_do_not_mix():
    """The detector's losses do not reach the adversary, and its loss does not reach the detector."""
    head = roi_head(**JOINT, score_drop=0.0)
    inputs = batch()
    losses = train(head, inputs)
    detector = [*head.bbox_head.parameters(), inputs[0][0]]
    adversary = list(head.adversary.parameters())
    own = torch.autograd.grad(losses["loss_adversary"], [*detector, *adversary], allow_unused=True, retain_graph=True)
    assert all(g is None for g in own[: len(detector)]) and any(g.any() for g in own[len(detector) :])
    loss = losses["loss_cls"] + losses["loss_bbox"]
    other = torch.autograd.grad(loss, [*detector, *adversary], allow_unused=True)
    assert all(g.any() for g in other[: len(detector)]) and all(g is None for g in other[len(detector) :])


def test_fixed_policy_keeps_the_adversary_as_it_is():
    head = roi_head(policy="fixed", occluded_images=1.0, pretrain_steps=1)
    first, second = train(head, batch()), train(head, batch())
    assert "loss_adversary" in first and "loss_adversary" not in second
    sum(value for name, value in second.items() if "loss" in name).backward()
    assert all(p.grad is None for p in head.adversary.parameters())
    assert first["loss_cls"] != second["loss_cls"]


def test_never_occluded_is_the_standard_head():
    ours = train(roi_head(occluded_images=0.0), batch())
    head = roi_head(policy="window", occluded_images=0.0)
    head.__class__ = head.__class__.__bases__[0]
    theirs = train(head, batch())
    assert ours["loss_adversary"] == 0
    assert all(ours[name] == value for name, value in theirs.items())


@pytest.mark.parametrize("policy", ["joint", "fixed", "window"])
@pytest.mark.parametrize("pretrain_steps", [0, 10])
def test_no_objects(policy, pretrain_steps):
    head = roi_head(policy=policy, occluded_images=1.0, pretrain_steps=pretrain_steps)
    losses = train(head, batch(objects=(0, 0)))
    sum(value for name, value in losses.items() if "loss" in name).backward()
    assert losses["loss_cls"] > 0 and losses["loss_bbox"] == 0 and losses.get("loss_adversary", 0) == 0


@pytest.mark.parametrize("policy", ["joint", "window"])
def test_in_faster_rcnn(policy):
    """A training step with an image without objects, and a prediction that the adversary does not touch."""
    register_all_modules()
    config = get_config("mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py").model
    config.backbone.update(depth=18, init_cfg=None, base_channels=8, frozen_stages=-1, norm_eval=False)
    config.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    config.rpn_head.update(in_channels=16, feat_channels=16)
    config.roi_head.update(type="ghm_mmdet.AdversarialDropoutRoIHead", policy=policy)
    config.roi_head.bbox_roi_extractor.out_channels = 16
    config.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32, num_classes=CLASSES)
    config.train_cfg.rcnn.sampler.num = 32
    torch.manual_seed(0)
    detector = MODELS.build(config)
    detector.init_weights()
    detector.train()
    data = detector.data_preprocessor(demo_mm_inputs(2, (3, 64, 96), num_items=[3, 0], num_classes=CLASSES), True)
    losses = detector(**data, mode="loss")
    loss, _ = detector.parse_losses(losses)
    loss.backward()
    assert ("loss_adversary" in losses) == (policy == "joint") and torch.isfinite(loss)
    detector.eval()
    with torch.no_grad():
        (ours,) = detector.test_step(demo_mm_inputs(1, (3, 64, 96), num_items=[1], num_classes=CLASSES))
        detector.roi_head.__class__ = detector.roi_head.__class__.__bases__[0]
        (theirs,) = detector.test_step(demo_mm_inputs(1, (3, 64, 96), num_items=[1], num_classes=CLASSES))
    assert torch.equal(ours.pred_instances.scores, theirs.pred_instances.scores)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("policy must be one of 'joint', 'fixed', 'window', got 'asdn'", dict(policy="asdn")),
        ("pretrain_steps must be", dict(pretrain_steps=-1)),
        ("occluded_images must be", dict(occluded_images=1.5)),
        ("score_drop must be", dict(score_drop=-0.1)),
        ("joint_weight must be", dict(joint_weight=-1)),
        ("got size 9", dict(window_size=9)),
        ("got dropped 30 and candidates 20", dict(dropped=30)),
    ],
)
def test_bad_arguments_are_named(message, options):
    with pytest.raises(ValueError, match=message):
        roi_head(**options)
