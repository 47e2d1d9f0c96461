"""ThresholdCrossEntropyLoss in a head: cross-entropy at 0, and a sum by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ghm_mmdet.losses import ThresholdCrossEntropyLoss


def test_without_a_threshold_it_is_cross_entropy():
    torch.manual_seed(0)
    logits, labels = torch.randn(30, 4), torch.randint(0, 5, (30,))
    plain = F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, 5)[:, :4].float(), reduction="sum") / 9
    found = ThresholdCrossEntropyLoss(threshold=0)(logits, labels, avg_factor=9.0)
    assert found.item() == pytest.approx(plain.item(), rel=1e-5)


def test_by_hand():
    # Gradient norms 0.018, 0.5 and, of the two positives, 0.5 and 0.018: the first and the last are left out.
    logits = torch.tensor([[-4.0], [0.0], [0.0], [4.0]])
    labels = torch.tensor([1, 1, 0, 0])
    # One of two positives is kept, so each kept element weighs twice.
    expected = 2 * (math.log(2) + math.log(2)) / 2
    assert ThresholdCrossEntropyLoss()(logits, labels, avg_factor=2).item() == pytest.approx(expected, rel=1e-5)
    ignored = ThresholdCrossEntropyLoss()(logits, labels, torch.tensor([1.0, 0.0, 1.0, 1.0]), avg_factor=2)
    assert ignored.item() == pytest.approx(2 * math.log(2) / 2, rel=1e-5)


def test_labels_and_scores_are_a_soft_target():
    torch.manual_seed(0)
    logits, labels, scores = torch.randn(12, 3), torch.randint(0, 4, (12,)), torch.rand(12)
    dense = F.one_hot(labels, 4)[:, :3] * scores.unsqueeze(1)
    loss = ThresholdCrossEntropyLoss(0.3)
    assert torch.equal(loss(logits, (labels, scores), avg_factor=2.0), loss(logits, dense, avg_factor=2.0))
    with pytest.raises(ValueError, match="a target of two parts"):
        loss(logits, (labels, scores[:-1]))


def test_probabilities_in_place_of_logits():
    torch.manual_seed(0)
    logits, labels = torch.randn(12, 3, requires_grad=True), torch.randint(0, 4, (12,))
    weight = torch.ones(12)
    weight[0] = 0
    gradients = []
    for activated in (False, True):
        pred = logits.sigmoid() if activated else logits
        if activated:
            pred = torch.where(torch.arange(12).unsqueeze(1) == 0, math.nan, pred)
        loss = ThresholdCrossEntropyLoss(0.3, activated=activated)(pred, labels, weight, avg_factor=2.0)
        gradients.append(torch.autograd.grad(loss, logits)[0])
    torch.testing.assert_close(*gradients)


def test_bad_arguments():
    with pytest.raises(ValueError, match="threshold"):
        ThresholdCrossEntropyLoss(threshold=2)
