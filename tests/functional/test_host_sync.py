"""No operator of forward or backward makes the host wait for the device to read a value or a number of elements."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ghm_mmdet.functional import (
    classification_gradient_norm,
    ghm_c_loss,
    ghm_r_loss,
    threshold_cross_entropy_loss,
)
from ghm_mmdet.functional.gradient_histogram import Elements, gradient_histogram

pytestmark = pytest.mark.usefixtures("on_device")

WAITING = {
    "_local_scalar_dense", "item", "is_nonzero", "equal", "allclose", "nonzero", "nonzero_static", "masked_select",
    "bincount", "unique_dim", "_unique", "_unique2", "unique_consecutive", "repeat_interleave", "argwhere",
}  # fmt: skip


class Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.waiting, self.seen = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen += 1
        name = function.overloadpacket.__name__
        boolean_index = name.startswith(("index", "_index")) and any(
            isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)
            for arg in args
            if isinstance(arg, (list, tuple))
            for index in arg
        )
        if name in WAITING or boolean_index:
            self.waiting.append(name)
        return function(*args, **(kwargs or {}))


def test_the_recorder_sees_what_it_looks_for():
    with Recorder() as recorder:
        x = torch.arange(4.0)
        x[x > 1].sum().item()
        torch.bincount(x.long())
    assert {"_local_scalar_dense", "bincount", "index"} <= set(recorder.waiting)


@pytest.mark.parametrize(("density", "momentum"), [("region", 0.0), ("region", 0.75), ("exact", 0.0)])
@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("use_sigmoid", [True, False])
@pytest.mark.parametrize("form", ["labels", "dense"])
def test_classification(momentum, density, reduction, use_sigmoid, form):
    logits = torch.randn(300, 7, requires_grad=True)
    target = torch.randint(0, 7, (300,)) if form == "labels" else torch.rand(300, 7).softmax(1)
    state = {"acc_sum": torch.zeros(30), "acc_norm": torch.zeros(30)} if momentum else {}
    with Recorder() as recorder:
        loss = ghm_c_loss(
            logits, target, torch.ones(300), use_sigmoid=use_sigmoid, momentum=momentum, density=density,
            reduction=reduction, max_weight=5.0, **state,
        )  # fmt: skip
        loss.sum().backward()
    assert logits.grad.any() and recorder.seen > 20
    assert recorder.waiting == []


@pytest.mark.parametrize("density", ["region", "exact"])
def test_regression(density):
    pred = torch.randn(300, 4, requires_grad=True)
    with Recorder() as recorder:
        ghm_r_loss(pred, torch.zeros(300, 4), torch.ones(300, 4), density=density).backward()
    assert pred.grad.any() and recorder.seen > 20
    assert recorder.waiting == []


@pytest.mark.parametrize("form", ["labels", "dense"])
def test_histogram(form):
    logits = torch.randn(300, 7)
    target = torch.randint(0, 7, (300,)) if form == "labels" else torch.rand(300, 7)
    samples = Elements(logits, target, torch.ones(300, 1) > 0)
    with Recorder() as recorder:
        gradient_histogram(samples, torch.randn(300, 7), classification_gradient_norm, 30)
    assert recorder.seen > 10 and recorder.waiting == []


@pytest.mark.parametrize("form", ["labels", "dense"])
def test_cross_entropy_above_a_threshold(form):
    logits = torch.randn(300, 7, requires_grad=True)
    target = torch.randint(0, 8, (300,)) if form == "labels" else torch.rand(300, 7)
    with Recorder() as recorder:
        threshold_cross_entropy_loss(logits, target, torch.ones(300)).sum().backward()
    assert logits.grad.any() and recorder.seen > 20
    assert recorder.waiting == []
