"""Options of the GHM losses in random combinations, against loops: what one of them makes, another may not spoil."""

from __future__ import annotations

import math
import random

import oracles
import pytest
import torch
import torch.nn.functional as F

from ghm_mmdet.functional import ghm_c_loss, ghm_r_loss

MU = 0.3


def draw(choose, kind):
    """Predictions in any order of memory, targets, and fractional weights of samples or elements, or none."""
    samples, classes = choose.choice([0, 1, 2, 7, 19]), choose.choice([1, 2, 5])
    pred = torch.randn(samples, classes, dtype=torch.float64) * 2
    pred = choose.choice([pred, pred.t().contiguous().t(), torch.stack([pred, pred], -1)[..., 0]])
    if kind == "regression":
        target = torch.randn(samples, classes, dtype=torch.float64)
    elif kind == "softmax":
        target = torch.rand(samples, classes, dtype=torch.float64).softmax(1)
    else:
        target = torch.rand(samples, classes, dtype=torch.float64) * (torch.rand(samples, classes) > 0.5)
    columns = choose.choice([1, classes]) if kind != "softmax" else 1
    weight = torch.rand(samples, columns, dtype=torch.float64) * 2 - choose.choice([0.0, 0.4, 2.0])
    return pred, target, choose.choice([None, weight])


def draw_options(choose, kind):
    density = choose.choice(["region", "region", "exact"])
    forms = [None, "avg_factor"] if kind == "regression" else [None, "avg_factor", "positives"]
    return {
        "bins": choose.choice([1, 3, 10, 30]),
        "density": density,
        "momentum": choose.choice([0.0, 0.75]) if density == "region" else 0.0,
        "average": choose.choice(["counts", "counts" if kind == "regression" else "shares"]),
        "max_weight": choose.choice([None, 2.0]),
        "power": choose.choice([1.0, 0.5, 0.0]),
        "normalize": choose.choice(forms),
        "avg_factor": choose.choice([None, 3.0]),
        "scale_by_weight": choose.random() < 0.4,
        "reduction": choose.choice(["none", "mean", "sum"]),
        "backend": choose.choice([None, "reference"]),
    }


def plain_loss(kind, pred, target):
    if kind == "sigmoid":
        return F.binary_cross_entropy_with_logits(pred, target, reduction="none")
    if kind == "softmax":
        return F.cross_entropy(pred, target, reduction="none")[:, None]
    return ((pred - target) ** 2 + MU**2).sqrt() - MU


def factors(kind, pred, target, weight, average, options):
    """What multiplies the plain loss of each element."""
    rows, targets = pred.tolist(), target.tolist()
    if kind == "softmax":
        norms = [sum(abs(p - t) for p, t in zip(oracles.softmax(x), ts)) / 2 for x, ts in zip(rows, targets)]
        positive = [sum(ts[:-1]) for ts in targets]
    else:
        norms, positive = [], target.flatten().tolist()
        for x, t in zip(pred.flatten().tolist(), positive):
            norms.append(abs(oracles.sigmoid(x) - t) if kind == "sigmoid" else abs(x - t) / math.hypot(x - t, MU))
    shape = (len(rows), 1 if kind == "softmax" else pred.shape[1])
    weights = ([1.0] * len(norms)) if weight is None else weight.expand(shape).flatten().tolist()
    valid = [w > 0 for w in weights]
    total = max(sum(weights) if kind == "regression" else sum(valid), 1)
    bins, bound, power = options["bins"], options["max_weight"] or math.inf, options["power"]
    if options["density"] == "exact":
        density = iter(oracles.exact_density([g for g, v in zip(norms, valid) if v], 1 / bins))
        beta = [min(total / next(density), bound) ** power if v else 0.0 for v in valid]
    else:
        beta = oracles.region_weights(norms, valid, total, bins, average, bound, power)
    if options["normalize"]:
        beta = oracles.normalized(beta, valid, positive, options["normalize"])
        counted = [v and (options["normalize"] == "avg_factor" or t > 0) for v, t in zip(valid, positive)]
        total = options["avg_factor"] or max(sum(counted), 1)
    if options["scale_by_weight"]:
        beta = [b * w for b, w in zip(beta, weights)]
    if options["reduction"] == "mean":
        beta = [b / total for b in beta]
    return torch.tensor(beta, dtype=torch.float64).view(shape)


@pytest.mark.parametrize("kind", ["sigmoid", "softmax", "regression"])
def test_combinations_of_options(kind):
    for seed in range(120):
        choose = random.Random(f"{kind} {seed}")
        torch.manual_seed(seed)
        options = draw_options(choose, kind)
        debias, bins = choose.random() < 0.5, options["bins"]
        average = oracles.MovingAverage(bins, options["momentum"], debias, options["average"] == "shares")
        state = torch.zeros(2, bins, dtype=torch.float64)
        for _ in range(2):
            pred, target, weight = draw(choose, kind)
            pred.requires_grad_()
            # Weights that are not positive do not count, and GHM-R sums all.
            weight = weight if weight is None or kind != "regression" else weight.clamp(min=0)
            options |= {"acc_sum": state[0], "acc_norm": state[1] if debias else None}
            if kind == "regression":
                loss = ghm_r_loss(pred, target, weight, MU, **options)
            else:
                loss = ghm_c_loss(pred, target, weight, use_sigmoid=kind == "sigmoid", **options)
            expected = factors(kind, pred, target, weight, average, options) * plain_loss(kind, pred, target)
            gradients = (torch.autograd.grad(value.sum(), pred) for value in (loss, expected))
            expected = expected.view(loss.shape) if options["reduction"] == "none" else expected.sum()
            torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)
