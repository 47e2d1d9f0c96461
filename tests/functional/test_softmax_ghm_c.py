import oracles
import pytest
import torch
import torch.nn.functional as F
from seeds import seeded

from ghm_mmdet.functional import ghm_c_loss

pytestmark = pytest.mark.usefixtures("on_device")


def random_case(samples, classes, seed):
    generator = seeded(seed)
    logits = torch.randn(samples, classes, generator=generator, dtype=torch.float64) * 3
    labels = torch.randint(0, classes, (samples,), generator=generator)
    mask = (torch.rand(samples, generator=generator) > 0.2).double()
    return logits.requires_grad_(), labels, mask


@pytest.mark.parametrize("bins", [1, 5, 30])
@pytest.mark.parametrize("form", ["labels", "one-hot", "soft"])
@pytest.mark.parametrize("classes", [2, 7])
def test_equals_oracle(bins, form, classes):
    logits, labels, mask = random_case(41, classes, seed=bins)
    rows = F.one_hot(labels, classes).double()
    if form == "soft":
        rows = 0.8 * rows + 0.2 / classes
    loss = ghm_c_loss(logits, labels if form == "labels" else rows, mask, bins, use_sigmoid=False)
    expected = oracles.softmax_ghm_c(logits.tolist(), rows.tolist(), mask.tolist(), bins)
    assert loss.item() == pytest.approx(expected.loss, rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.flatten().tolist() == pytest.approx(expected.gradient, rel=1e-9, abs=1e-12)


def test_moving_average_equals_oracle_over_calls():
    average, acc_sum = oracles.MovingAverage(10, 0.75), torch.zeros(10, dtype=torch.float64)
    for step in range(4):
        logits, labels, mask = random_case(30, 4, seed=step)
        loss = ghm_c_loss(logits, labels, mask, 10, use_sigmoid=False, momentum=0.75, acc_sum=acc_sum)
        rows = F.one_hot(labels, 4).tolist()
        expected = oracles.softmax_ghm_c(logits.tolist(), rows, mask.tolist(), 10, average)
        assert loss.item() == pytest.approx(expected.loss, rel=1e-9)


def test_one_bin_is_softmax_cross_entropy():
    logits, labels, _ = random_case(50, 6, seed=1)
    assert ghm_c_loss(logits, labels, bins=1, use_sigmoid=False).item() == pytest.approx(
        F.cross_entropy(logits, labels).item()
    )


def test_none_gives_one_loss_per_sample():
    logits, labels, mask = random_case(12, 3, seed=2)
    elements = ghm_c_loss(logits.view(3, 4, 3), labels.view(3, 4), mask.view(3, 4), use_sigmoid=False, reduction="none")
    assert elements.shape == (3, 4)
    total = ghm_c_loss(logits, labels, mask, use_sigmoid=False, reduction="sum")
    assert elements.sum().item() == pytest.approx(total.item())


def test_gradcheck():
    probability = torch.tensor([0.05, 0.15, 0.15, 0.35, 0.55, 0.75, 0.75, 0.95], dtype=torch.float64)
    logits = torch.stack([torch.logit(probability), torch.zeros(8).double()], 1).requires_grad_()
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    assert torch.autograd.gradcheck(lambda x: ghm_c_loss(x, labels, bins=10, use_sigmoid=False), logits)


def test_saturated_half_keeps_its_loss():
    logits = torch.tensor([[80.0, -80.0], [80.0, -80.0]], dtype=torch.float16, requires_grad=True)
    loss = ghm_c_loss(logits, torch.tensor([1, 0]), use_sigmoid=False)
    loss.backward()
    # Two regions with one sample each, so that all weights are 1.
    assert loss.item() == pytest.approx(80.0)
    assert logits.grad.tolist() == [[0.5, -0.5], [0.0, 0.0]]


def test_label_without_a_logit_is_named():
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        ghm_c_loss(torch.zeros(4, 3, device="cpu"), torch.tensor([0, 1, 2, 3], device="cpu"), use_sigmoid=False)


def test_weight_per_logit_is_refused():
    with pytest.raises(ValueError, match="weight must be a real tensor of shape \\(4,\\), one entry per sample, got"):
        ghm_c_loss(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long), torch.ones(4, 3), use_sigmoid=False)
