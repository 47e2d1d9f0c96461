import math

import pytest
import torch

from ghm_mmdet.errors import UserError
from ghm_mmdet.functional import ghm_c_loss, ghm_r_loss
from ghm_mmdet.losses import GHMC, GHMR


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 6, (50,), generator=generator)
    return torch.randn(50, 5, generator=generator), labels, (torch.rand(50, generator=generator) > 0.2).float()


@pytest.fixture
def boxes():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(50, 4, generator=generator), torch.randn(50, 4, generator=generator)


def test_module_equals_function(batch, boxes):
    loss = GHMC(bins=12, momentum=0, loss_weight=3.0, max_weight=2.0, reduction="sum")
    expected = 3 * ghm_c_loss(*batch, 12, max_weight=2.0, reduction="sum")
    assert loss(*batch).item() == expected.item()
    loss = GHMR(mu=0.1, bins=12, momentum=0, loss_weight=3.0, max_weight=2.0, reduction="sum")
    expected = 3 * ghm_r_loss(*boxes, mu=0.1, bins=12, max_weight=2.0, reduction="sum")
    assert loss(*boxes).item() == expected.item()


def test_weight_may_be_left_out(batch, boxes):
    logits, labels, _ = batch
    assert GHMC()(logits, labels, avg_factor=7).item() == GHMC()(logits, labels, torch.ones(50)).item()
    assert GHMR()(*boxes, avg_factor=7).item() == GHMR()(*boxes, torch.ones(50, 4)).item()


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_reduction_override(batch, reduction):
    overridden = GHMC(reduction="mean")(*batch, reduction_override=reduction)
    assert torch.equal(overridden, GHMC(reduction=reduction)(*batch))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_module_keeps_its_counts(dtype):
    loss = GHMC(bins=3, momentum=0.5, debias=True)
    loss.acc_sum.fill_(1_000_003.0)
    loss.to(dtype)
    assert {name: buffer.dtype for name, buffer in loss.named_buffers()} == dict.fromkeys(
        ("edges", "acc_sum", "acc_norm"), torch.float32
    )
    assert loss.acc_sum.tolist() == [1_000_003.0] * 3 and loss.edges[-1] > 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(batch, dtype):
    logits, labels, mask = batch
    layer = torch.nn.Linear(5, 5)
    with torch.autocast("cpu", dtype=dtype):
        pred = layer(logits)
        loss = GHMC(bins=30, momentum=0.75)(pred, labels, mask)
    assert pred.dtype == dtype and loss.dtype == torch.float32
    loss.backward()
    assert torch.isfinite(layer.weight.grad).all() and layer.weight.grad.any()


def test_debias_loads_a_checkpoint_without_its_buffer(batch):
    trained = GHMC(momentum=0.75)
    for _ in range(30):
        trained(*batch)
    loss = GHMC(momentum=0.75, debias=True)
    loss.load_state_dict(trained.state_dict())
    assert loss(*batch).item() == pytest.approx(trained(*batch).item(), rel=1e-5)


def test_state_survives_a_round_trip(batch):
    first, second = (GHMC(momentum=0.75, debias=True) for _ in range(2))
    first(*batch)
    second.load_state_dict(first.state_dict())
    assert first(*batch).item() == second(*batch).item()


def test_checkpoint_dictionary_is_left_alone():
    state = GHMC(momentum=0.75).state_dict()
    GHMC(momentum=0.75, debias=True).load_state_dict(state)
    assert set(state) == {"edges", "acc_sum"}


@pytest.mark.parametrize(
    ("name", "got", "build"),
    [
        ("bins", "0", lambda: GHMC(bins=0)),
        ("bins", "'10'", lambda: GHMR(bins="10")),
        ("momentum", "1", lambda: GHMC(momentum=1)),
        ("mu", "0", lambda: GHMR(mu=0)),
        ("loss_weight", "-1", lambda: GHMC(loss_weight=-1)),
        ("loss_weight", "inf", lambda: GHMR(loss_weight=math.inf)),
        ("reduction", "'total'", lambda: GHMR(reduction="total")),
        ("max_weight", "-2", lambda: GHMC(max_weight=-2)),
        ("avg_factor", "-1.0", lambda: GHMC()(torch.zeros(1, 1), torch.zeros(1, 1), avg_factor=-1.0)),
        ("reduction_override", "'total'", lambda: GHMC()(torch.zeros(1, 1), torch.zeros(1, 1), None, "total")),
    ],
)
def test_bad_arguments_are_named(name, got, build):
    with pytest.raises(ValueError, match=name) as error:
        build()
    assert got in str(error.value)


PIXELS = torch.tensor([[10.0, 20.0, 30.0, 60.0], [1.0, 2.0, 3.0, 4.0]])
# Not every difference of corners is above 0, or none is large.
DELTAS = [torch.tensor([[20.0, -1.0, 1.0, 2.0]]), torch.tensor([[-0.5, -0.2, 0.1, 0.2]])]


def test_boxes_in_pixels_are_refused():
    pred = (PIXELS + 1).requires_grad_()
    for weight in (None, torch.ones(2), torch.ones(2, 4)):
        with pytest.raises(UserError, match="boxes in pixels"):
            GHMR()(pred, PIXELS, weight)
    assert GHMR(in_pixels=True, momentum=0)(pred, PIXELS).item() == pytest.approx(0.98 + 0.02**2 / 2, rel=1e-4)


@pytest.mark.parametrize("target", DELTAS)
def test_deltas_are_not_taken_for_pixels(target):
    GHMR()(target + 0.1, target)


def test_only_the_first_training_call_with_samples_is_looked_at():
    loss = GHMR()
    with torch.no_grad():
        loss(PIXELS, PIXELS)
    loss.eval()(PIXELS, PIXELS)
    loss.train()(PIXELS, PIXELS, torch.zeros(2))
    loss(PIXELS[:0], PIXELS[:0], PIXELS[:0])
    with pytest.raises(UserError, match="boxes in pixels"):
        loss(PIXELS, PIXELS)
    assert loss(PIXELS, PIXELS).item() == 0
