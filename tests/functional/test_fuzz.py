"""Thousands of random inputs: a finite loss and gradient, or a ValueError."""

import copy
import random

import pytest
import torch

from ghm_mmdet.functional import ghm_c_loss, ghm_r_loss

pytestmark = pytest.mark.usefixtures("on_device")

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
MAGNITUDES = [0.0, 1e-30, 1e-3, 1.0, 30.0, 1e3, 1e4]
CASES = 1500


def random_tensor(choose: random.Random, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    value = torch.randn(shape) * choose.choice(MAGNITUDES)
    if choose.random() < 0.2:
        value = value.sign() * choose.choice(MAGNITUDES)
    return value.to(dtype)


def random_weight(choose: random.Random, shape: tuple[int, ...]) -> torch.Tensor | None:
    kind = choose.randrange(6)
    if kind == 0:
        return None
    if kind == 1:
        return torch.zeros(shape)
    if kind == 2:
        return torch.rand(shape) > choose.random()
    if kind == 3:
        return torch.rand(shape[:1]) * 1e4
    if kind == 4:
        return torch.ones(tuple(side + choose.randrange(2) for side in shape))
    return torch.ones(shape, dtype=torch.int64)


def random_options(choose: random.Random) -> dict:
    bins = choose.choice([1, 2, 10, 30, 300, 0, -1])
    options = {"bins": bins, "reduction": choose.choice(["none", "mean", "sum", "mean", "average"])}
    if choose.random() < 0.5:
        options |= {"momentum": choose.choice([0.0, 0.75, 0.99, 1.0]), "acc_sum": torch.zeros(max(bins, 1))}
        if choose.random() < 0.5:
            options["acc_norm"] = torch.zeros(max(bins, 1))
    if choose.random() < 0.3:
        options["max_weight"] = choose.choice([1e-6, 1.0, 1e6, 0.0])
    if choose.random() < 0.2:
        options["density"] = choose.choice(["exact", "region", "none"])
    return options


def check(loss_of, pred: torch.Tensor) -> bool:
    """Whether the input was accepted; a loss or gradient that is not finite fails the test.

    What float16 cannot hold is infinite in it, which is what a GradScaler looks for.
    """
    pred.requires_grad_()
    try:
        loss = loss_of(pred)
    except ValueError:
        return False
    loss.sum().backward()
    wide = pred.detach().to(torch.promote_types(pred.dtype, torch.float32)).requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(wide).sum(), wide)
    assert torch.isfinite(loss).all() and torch.isfinite(gradient).all()
    assert torch.equal(pred.grad, gradient.to(pred.dtype))
    assert (loss >= 0).all()
    return True


def test_classification():
    accepted = 0
    for seed in range(CASES):
        choose = random.Random(seed)
        torch.manual_seed(seed)
        shape = choose.choice([0, 1, 2, 7, 40]), choose.choice([0, 1, 2, 5])
        pred = random_tensor(choose, shape, choose.choice(DTYPES))
        target = torch.randint(-2, 8, (shape[0] + (choose.random() < 0.1),))
        if choose.random() < 0.4:
            target = torch.rand(shape).to(choose.choice(DTYPES))
        options = random_options(choose)
        weight = random_weight(choose, shape)
        if choose.random() < 0.2:
            options["use_sigmoid"] = False
            target = target.clamp(0, max(shape[1] - 1, 0))
        accepted += check(lambda x: ghm_c_loss(x, target, weight, **copy.deepcopy(options)), pred)  # noqa: B023
    assert CASES / 5 < accepted < CASES


def test_regression():
    accepted = 0
    for seed in range(CASES):
        choose = random.Random(seed)
        torch.manual_seed(seed)
        shape = choose.choice([0, 1, 2, 7, 40]), 4
        pred = random_tensor(choose, shape, choose.choice(DTYPES))
        target = random_tensor(choose, shape if choose.random() < 0.9 else (3, 3), choose.choice(DTYPES))
        options = random_options(choose) | {"mu": choose.choice([0.02, 1e-6, 10.0, 0.0])}
        weight = random_weight(choose, shape)
        accepted += check(lambda x: ghm_r_loss(x, target, weight, **copy.deepcopy(options)), pred)  # noqa: B023
    assert CASES / 5 < accepted < CASES
