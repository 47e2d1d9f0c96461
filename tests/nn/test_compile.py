"""A user's torch.compile of a loss, or of a module that holds it: no graph break, same value, gradient and state."""

from __future__ import annotations

import copy

import pytest
import torch

from ghm_mmdet.losses import GHMC, GHMR, ThresholdCrossEntropyLoss

LOSSES = {
    "GHM-C": lambda: GHMC(),
    "robust GHM-C": lambda: GHMC(normalize="positives", max_weight=10.0),
    "GHM-C of shares": lambda: GHMC(average="shares", debias=True, anneal_calls=10),
    "softmax GHM-C": lambda: GHMC(use_sigmoid=False),
    "exact GHM-C": lambda: GHMC(density="exact", normalize="avg_factor"),
    "GHM-R": lambda: GHMR(),
    "GHM-R with auto mu": lambda: GHMR(mu="auto", normalize="avg_factor"),
    "cross-entropy above a threshold": lambda: ThresholdCrossEntropyLoss(),
}


def batch(loss, samples):
    pred = torch.randn(samples, 4)
    target = torch.randn(samples, 4) if isinstance(loss, GHMR) else torch.randint(0, 4, (samples,))
    return pred, target, (torch.rand(samples, 1) > 0.2).float()


@pytest.mark.parametrize("name", LOSSES)
def test_no_graph_break_and_the_same_training(name):
    torch.manual_seed(0)
    torch._dynamo.reset()
    loss = LOSSES[name]()
    again = copy.deepcopy(loss)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for samples in (40, 40, 7):
        pred, target, weight = batch(loss, samples)
        # One weight a sample, as heads give it; GHM-R's heads have one an element.
        weight = weight.expand(-1, 4) if isinstance(loss, GHMR) else weight.flatten()
        results = []
        for run in (compiled, again):
            leaf = pred.clone().requires_grad_()
            value = run(leaf, target, weight, avg_factor=5.0)
            value.backward()
            results.append((value.detach(), leaf.grad))
        assert results[0][1].any()
        torch.testing.assert_close(*results, rtol=1e-6, atol=1e-8)
    for buffer, expected in zip(loss.buffers(), again.buffers()):
        torch.testing.assert_close(buffer, expected, rtol=1e-6, atol=0)


class Head(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 8)
        self.loss_cls = GHMC(normalize="positives", max_weight=10.0)
        self.loss_bbox = GHMR()

    def forward(self, features, labels, boxes, weight):
        cls, bbox = self.layer(features).split(4, dim=1)
        own = weight.unsqueeze(1).expand(-1, 4)
        return self.loss_cls(cls, labels, weight, avg_factor=weight.sum()) + self.loss_bbox(bbox, boxes, own)


@pytest.mark.slow  # A minute where the compiler runs for the first time.
def test_a_module_that_holds_the_losses_through_the_whole_compiler():
    torch.manual_seed(0)
    torch._dynamo.reset()
    head = Head()
    again = copy.deepcopy(head)
    compiled = torch.compile(head, fullgraph=True)
    for _ in range(2):
        inputs = torch.randn(30, 6), torch.randint(0, 5, (30,)), torch.randn(30, 4), (torch.rand(30) > 0.2).float()
        values = [compiled(*inputs), again(*inputs)]
        for value in values:
            value.backward()
        torch.testing.assert_close(*values, rtol=1e-5, atol=0)
    torch.testing.assert_close(head.layer.weight.grad, again.layer.weight.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(list(head.buffers()), list(again.buffers()), rtol=1e-5, atol=0)
