"""The reference back end against plain loops."""

import oracles
import pytest
import torch
from seeds import seeded

from ghm_mmdet import ops

pytestmark = pytest.mark.usefixtures("on_device")


def naive(pred, target, valid, kind, mu, bins, weight):
    """Statistics and gradient over flat lists of predictions and dense targets."""
    sums, gradient = [[0.0] * bins for _ in range(3)], []
    for x, t, v in zip(pred, target, valid):
        if kind == "asl1":
            root = ((x - t) ** 2 + mu * mu) ** 0.5
            loss, derivative = root - mu, (x - t) / root
        else:
            loss, derivative = oracles.bce(x, t), oracles.sigmoid(x) - t
        j = oracles.region(abs(derivative), bins)
        for row, value in zip(sums, (1, t > 0, loss)):
            row[j] += value if v else 0
        gradient.append(derivative * weight[j] if v else 0.0)
    return sums, gradient


@pytest.mark.parametrize("kind", ["label", "dense", "asl1"])
@pytest.mark.parametrize("weights", [None, (23, 1), (23, 5)])
@pytest.mark.parametrize("bins", [1, 10, 30])
def test_equals_loops_over_the_elements(kind, weights, bins):
    generator = seeded(bins)
    pred = torch.randn(23, 5, generator=generator, dtype=torch.float64) * 3
    target = torch.randint(-2, 12, (23,), generator=generator)
    dense = torch.tensor(oracles.one_hot(target.tolist(), 5), dtype=torch.float64).view(23, 5)
    if kind != "label":
        target = dense = dense * torch.rand(23, 5, generator=generator)
    weight = None if weights is None else torch.rand(weights, generator=generator) - 0.3
    valid = torch.ones(23, 5) if weight is None else (weight > 0).expand(23, 5)
    region_weight = torch.rand(bins, generator=generator, dtype=torch.float64)
    flat = [value.flatten().tolist() for value in (pred, dense, valid)]
    sums, gradient = naive(*flat, kind, 0.5, bins, region_weight.tolist())
    found = ops.region_statistics(pred, target, weight, kind, 0.5, bins, "reference")
    torch.testing.assert_close(found, torch.tensor(sums, dtype=torch.float64), rtol=1e-12, atol=1e-14)
    found = ops.harmonized_gradient(pred, target, weight, kind, 0.5, region_weight, "reference")
    assert found.flatten().tolist() == pytest.approx(gradient, rel=1e-12, abs=1e-15)


def test_unknown_names_are_refused():
    inputs = (torch.zeros(2, 3), torch.zeros(2, 3), None)
    with pytest.raises(ValueError, match="kind must be"):
        ops.region_statistics(*inputs, "hinge", 0.0, 10)
    with pytest.raises(ValueError, match="backend must be one of 'reference', 'cpu', 'triton'"):
        ops.region_statistics(*inputs, "dense", 0.0, 10, "fpga")
