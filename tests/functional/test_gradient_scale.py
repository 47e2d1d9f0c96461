import pytest
import torch

from ghm_mmdet.functional import focal_gradient_norm


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_equals_the_derivative_of_focal_loss(gamma):
    logits = torch.linspace(-8, 8, 101, dtype=torch.float64, requires_grad=True)
    probability = logits.sigmoid()
    loss = -((1 - probability) ** gamma) * probability.log()
    (derivative,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(focal_gradient_norm(1 - probability.detach(), gamma), derivative.abs())


def test_ends_of_the_range():
    assert focal_gradient_norm(torch.tensor([0.0, 1.0])).tolist() == [0.0, 1.0]


def test_bad_gamma_is_named():
    with pytest.raises(ValueError, match="gamma"):
        focal_gradient_norm(torch.zeros(1), 0)
