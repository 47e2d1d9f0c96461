"""Sigmoid losses in mmdet's RoI heads: a logit for each class and none for the background, trained and predicted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from torch import Tensor

CLASSES, SAMPLES = 3, 12
LABELS = torch.arange(SAMPLES) % (CLASSES + 1)
LOSSES = [
    "GHMC",
    "OHEMLoss",
    "FocalStarLoss",
    "SoftFocalLoss",
    "AlphaBalancedCrossEntropyLoss",
    "ThresholdCrossEntropyLoss",
]


def head_with(loss: str, **options):
    init_default_scope("mmdet")
    torch.manual_seed(0)
    head = dict(type="Shared2FCBBoxHead", num_classes=CLASSES, in_channels=4, fc_out_channels=8, roi_feat_size=2)
    return MODELS.build(dict(head, loss_cls=dict(type=f"ghm_mmdet.{loss}", **options)))


def logits_of(samples: int = SAMPLES) -> Tensor:
    return torch.randn(samples, CLASSES, generator=torch.Generator().manual_seed(0), requires_grad=True)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_logit_for_each_class(loss):
    head = head_with(loss, use_sigmoid=True)
    assert head.fc_cls.out_features == CLASSES
    results = head.loss(logits_of(), None, None, LABELS, torch.ones(SAMPLES), torch.zeros(0, 4), torch.zeros(0, 4))
    assert results["loss_cls"] > 0


def test_softmax_keeps_its_background():
    head = head_with("GHMC", use_sigmoid=False)
    assert head.fc_cls.out_features == CLASSES + 1 and not head.custom_activation


def test_the_background_is_no_class_in_training():
    """One region is the mean of binary cross-entropy over the classes, a background sample being 0 for all of them."""
    head = head_with("GHMC", use_sigmoid=True, bins=1, momentum=0)
    logits = logits_of()
    target = F.one_hot(LABELS, CLASSES + 1)[:, :CLASSES].float()
    results = head.loss(logits, None, None, LABELS, torch.ones(SAMPLES), torch.zeros(0, 4), torch.zeros(0, 4))
    expected = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(results["loss_cls"], expected)
    ours, theirs = (torch.autograd.grad(value, logits)[0] for value in (results["loss_cls"], expected))
    torch.testing.assert_close(ours, theirs)
    right = [int(row.argmax()) == int(label) for row, label in zip(logits, LABELS) if label < CLASSES]
    assert float(results["acc_classes"]) == pytest.approx(100 * sum(right) / len(right))


def test_accuracy_without_objects_is_zero():
    head = head_with("GHMC", use_sigmoid=True)
    accuracy = head.loss_cls.get_accuracy(logits_of(2), torch.full((2,), CLASSES))
    assert float(accuracy["acc_classes"]) == 0


def test_scores_are_the_sigmoids():
    head, logits = head_with("GHMC", use_sigmoid=True), logits_of(2).detach()
    # One class of each box, far apart, so that NMS drops none.
    rois = torch.tensor([[0, 0.0, 0.0, 20.0, 20.0], [0, 40.0, 40.0, 60.0, 60.0]])
    found = head._predict_by_feat_single(
        rois, logits, torch.zeros(2, 4 * CLASSES), dict(img_shape=(64, 64), scale_factor=(1.0, 1.0)),
        rcnn_test_cfg=ConfigDict(score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100),
    )  # fmt: skip
    assert len(found) == 2 * CLASSES
    torch.testing.assert_close(found.scores, logits.sigmoid().flatten().sort(descending=True).values)
    for box, label, score in zip(found.bboxes, found.labels, found.scores):
        row = rois[:, 1:].tolist().index(box.tolist())
        assert score == logits[row, label].sigmoid()


def test_dense_heads_have_no_background_column():
    """They ask the loss for scores, but not how many logits it wants."""
    init_default_scope("mmdet")
    head = MODELS.build(
        dict(type="RetinaHead", num_classes=CLASSES, in_channels=4, feat_channels=4, stacked_convs=1,
             loss_cls=dict(type="ghm_mmdet.GHMC", use_sigmoid=True))
    )  # fmt: skip
    logits = logits_of().detach()
    assert torch.equal(head.loss_cls.get_activation(logits), logits.sigmoid())
