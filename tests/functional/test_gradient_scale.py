import pytest
import torch
import torch.nn.functional as F

from ghm_mmdet.functional import (
    asl1_loss,
    focal_gradient_norm,
    ghm_c_loss,
    ghm_gradient_norm,
    ghm_r_loss,
    region_count,
    smooth_l1_gradient_norm,
    unit_region,
)

pytestmark = pytest.mark.usefixtures("on_device")


def derivative_of(loss, at):
    at = at.clone().requires_grad_()
    (derivative,) = torch.autograd.grad(loss(at), at)
    return derivative.abs()


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_equals_the_derivative_of_focal_loss(gamma):
    logits = torch.linspace(-8, 8, 101, dtype=torch.float64, requires_grad=True)
    probability = logits.sigmoid()
    loss = -((1 - probability) ** gamma) * probability.log()
    (derivative,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(focal_gradient_norm(1 - probability.detach(), gamma), derivative.abs())


def test_ends_of_the_range():
    assert focal_gradient_norm(torch.tensor([0.0, 1.0])).tolist() == [0.0, 1.0]
    assert smooth_l1_gradient_norm(torch.tensor([0.0, 1.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("bins", [1, 10, 30])
def test_equals_the_derivative_of_ghm_c(bins):
    logits = torch.randn(500, 1, dtype=torch.float64) * 3
    target = (torch.rand(500, 1) < 0.3).double()
    norm = (logits.sigmoid() - target).abs()
    count = region_count(unit_region(norm, bins), bins)
    expected = derivative_of(lambda x: ghm_c_loss(x, target, bins=bins, reduction="sum"), logits)
    torch.testing.assert_close(ghm_gradient_norm(norm, count), expected)


def test_equals_the_derivative_of_ghm_r():
    difference = torch.randn(500, 4, dtype=torch.float64) * 0.1
    zeros = torch.zeros_like(difference)
    norm = derivative_of(lambda d: asl1_loss(d, zeros, 0.02).sum(), difference)
    count = region_count(unit_region(norm, 10), 10)
    expected = derivative_of(lambda d: ghm_r_loss(d, zeros, mu=0.02, bins=10, reduction="sum"), difference)
    torch.testing.assert_close(ghm_gradient_norm(norm, count), expected)


def test_an_empty_region_has_no_gradient():
    assert ghm_gradient_norm(torch.tensor([0.25, 0.75]), torch.tensor([4, 0])).tolist() == [0.25, 0.0]


@pytest.mark.parametrize("beta", [0.11, 1.0])
@pytest.mark.parametrize("mu", [0.02, 0.5])
def test_equals_the_derivative_of_smooth_l1(mu, beta):
    difference = torch.linspace(-2, 2, 81, dtype=torch.float64)
    zeros = torch.zeros_like(difference)
    norm = derivative_of(lambda d: asl1_loss(d, zeros, mu).sum(), difference)
    expected = derivative_of(lambda d: F.smooth_l1_loss(d, zeros, beta=beta, reduction="sum"), difference)
    torch.testing.assert_close(smooth_l1_gradient_norm(norm, mu, beta), expected)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="gamma"):
        focal_gradient_norm(torch.zeros(1), 0)
    with pytest.raises(ValueError, match="mu"):
        smooth_l1_gradient_norm(torch.zeros(1), 0)
    with pytest.raises(ValueError, match="beta"):
        smooth_l1_gradient_norm(torch.zeros(1), beta=-1)
