import pytest
import torch
import torch.nn.functional as F

from ghm_mmdet.functional import asl1_loss, classification_gradient_norm, regression_gradient_norm

pytestmark = pytest.mark.usefixtures("on_device")

LOGITS = torch.linspace(-12, 12, 60, dtype=torch.float64).view(15, 4)


def size_of_derivative(loss, at):
    at = at.clone().requires_grad_()
    (derivative,) = torch.autograd.grad(loss(at).sum(), at)
    return derivative.abs()


def test_sigmoid_equals_the_derivative_of_binary_cross_entropy():
    labels = torch.arange(15) % 6 - 1  # -1, 4 are background
    one_hot = torch.zeros(15, 4, dtype=torch.float64)
    for row, label in enumerate(labels.tolist()):
        if 0 <= label < 4:
            one_hot[row, label] = 1
    soft = torch.rand(15, 4, dtype=torch.float64)
    for given, target in ((labels, one_hot), (one_hot, one_hot), (soft, soft)):
        expected = size_of_derivative(lambda x, t=target: F.binary_cross_entropy_with_logits(x, t), LOGITS) * 60
        torch.testing.assert_close(classification_gradient_norm(LOGITS, given), expected)


def test_softmax_is_half_the_size_of_the_derivative_of_cross_entropy():
    labels = torch.arange(15) % 4
    soft = torch.rand(15, 4, dtype=torch.float64).softmax(1)
    for target in (labels, soft):
        of_logits = size_of_derivative(lambda x, t=target: F.cross_entropy(x, t, reduction="sum"), LOGITS)
        norm = classification_gradient_norm(LOGITS, target, use_sigmoid=False)
        torch.testing.assert_close(norm, of_logits.sum(1, keepdim=True) / 2)
    of_label = 1 - LOGITS.softmax(1).gather(1, labels.unsqueeze(1))
    torch.testing.assert_close(classification_gradient_norm(LOGITS, labels, use_sigmoid=False), of_label)


@pytest.mark.parametrize("mu", [0.02, 1.0])
def test_regression_equals_the_derivative_of_authentic_smooth_l1(mu):
    pred = torch.linspace(-3, 3, 60, dtype=torch.float64).view(15, 4)
    target = torch.rand(15, 4, dtype=torch.float64)
    expected = size_of_derivative(lambda x: asl1_loss(x, target, mu), pred)
    torch.testing.assert_close(regression_gradient_norm(pred, target, mu), expected)


def test_half_is_computed_in_float32():
    logits = torch.tensor([[12.0]], dtype=torch.half)
    norm = classification_gradient_norm(logits, torch.tensor([1]))
    assert norm.dtype == torch.float32 and 0.99999 < norm.item() < 1
    assert regression_gradient_norm(logits, torch.zeros(1, 1)).dtype == torch.float32


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"target must hold integer labels of shape \(15,\)"):
        classification_gradient_norm(LOGITS, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="target"):
        regression_gradient_norm(LOGITS, torch.zeros(3))
    with pytest.raises(ValueError, match="mu"):
        regression_gradient_norm(LOGITS, LOGITS, mu=0)
