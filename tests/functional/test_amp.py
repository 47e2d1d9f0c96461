"""Mixed precision: float16 and bfloat16 autocast, with the extremes that a detector can give."""

from __future__ import annotations

import pytest
import torch
from seeds import seeded
from torch import Tensor

from ghm_mmdet.functional import ghm_c_loss, ghm_r_loss

pytestmark = pytest.mark.usefixtures("on_device")

HALVES = [torch.float16, torch.bfloat16]


class Detector(torch.nn.Module):
    """A linear layer whose outputs in half precision are logits of 4 classes and 4 box deltas."""

    def __init__(self, scale: float):
        super().__init__()
        generator = seeded(0)
        self.weight = torch.nn.Parameter(torch.randn(8, 8, generator=generator) * scale)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return torch.nn.functional.linear(features, self.weight).split(4, dim=1)


def labels_of(kind: str, samples: int) -> Tensor:
    labels = torch.full((samples,), 4)
    if kind == "one positive":
        labels[0] = 2
    elif kind == "all positive":
        labels = torch.arange(samples) % 4
    return labels


@pytest.mark.parametrize("max_weight", [None, 1e6])
@pytest.mark.parametrize("kind", ["no positive", "one positive", "all positive"])
@pytest.mark.parametrize("samples", [1, 50])
@pytest.mark.parametrize("scale", [0.0, 1.0, 5e3])
@pytest.mark.parametrize("dtype", HALVES)
def test_loss_and_gradient_are_finite(dtype, scale, samples, kind, max_weight):
    """With scale 0 all samples are in one region; with the largest, logits and differences exceed 1e4."""
    detector = Detector(scale)
    features = torch.randn(samples, 8, generator=seeded(1))
    labels = labels_of(kind, samples)
    with torch.autocast(torch.get_default_device().type, dtype=dtype):
        logits, deltas = detector(features)
        assert logits.dtype == dtype
        assert scale < 5e3 or logits.abs().max() > 1e4
        state = [torch.zeros(30), torch.zeros(10)]
        shared = {"momentum": 0.75, "max_weight": max_weight}
        loss_cls = ghm_c_loss(logits, labels, bins=30, acc_sum=state[0], **shared)
        weight = (labels < 4).float()
        loss_bbox = ghm_r_loss(deltas, torch.zeros_like(deltas), weight, bins=10, acc_sum=state[1], **shared)
    # The losses themselves are those of float32.
    assert loss_cls.dtype == loss_bbox.dtype == torch.float32
    again = ghm_c_loss(logits.float(), labels, bins=30, acc_sum=torch.zeros(30), **shared)
    assert torch.equal(loss_cls, again)
    (loss_cls + loss_bbox).backward()
    assert loss_cls.isfinite() and loss_bbox.isfinite()
    assert detector.weight.grad.isfinite().all()
    assert all(average.isfinite().all() for average in state)


def train(dtype: torch.dtype) -> tuple[float, float]:
    """The share of samples that are classified rightly after a training, and the loss scale at its end.

    An outlier that no step will mend is among the samples.
    """
    detector = Detector(0.5)
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.5)
    scaler = torch.amp.GradScaler(torch.get_default_device().type, enabled=dtype == torch.float16)
    generator = seeded(1)
    features = torch.randn(200, 8, generator=generator)
    labels = (features @ torch.randn(8, 4, generator=generator)).argmax(1)
    features[0] *= 100
    acc_sum = torch.zeros(30)
    for _ in range(60):
        with torch.autocast(torch.get_default_device().type, dtype=dtype, enabled=dtype != torch.float32):
            logits, _ = detector(features)
            loss = ghm_c_loss(logits, labels, bins=30, momentum=0.75, acc_sum=acc_sum, max_weight=1e6)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 35)
        scaler.step(optimizer)
        scaler.update()
        assert loss.isfinite() and detector.weight.isfinite().all()
    right = detector(features)[0].argmax(1) == labels
    return right.float().mean().item(), scaler.get_scale()


def test_a_training_in_half_precision_learns_as_in_float32():
    """In float16 with a GradScaler, from its usual scale of 65536."""
    expected, _ = train(torch.float32)
    assert expected > 0.8
    for dtype in HALVES:
        found, scale = train(dtype)
        assert found == pytest.approx(expected, abs=0.05)
        assert dtype == torch.bfloat16 or scale >= 1024, "most steps were skipped"
