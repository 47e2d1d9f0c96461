import math

import pytest
import torch
from seeds import seeded

from ghm_mmdet.functional.noisy_anchors import cleanliness_weight, rescaled_cleanliness

pytestmark = pytest.mark.usefixtures("on_device")


def naive_labels(loc, cls, alpha):
    mean = sum(loc) / len(loc)
    c = [alpha * a / mean + (1 - alpha) * b / (sum(cls) / len(cls)) for a, b in zip(loc, cls)]
    return [mean + (x - min(c)) * (1 - mean) / (max(c) - min(c)) for x in c]


def naive_weights(loc, cls, alpha, gamma):
    f = [[1 / (1 - x) for x in values] for values in (loc, cls)]
    means = [sum(values) / len(values) for values in f]
    return [(alpha * a / means[0] + (1 - alpha) * b / means[1]) ** gamma for a, b in zip(*f)]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_equals_oracle(alpha, gamma):
    loc, cls = torch.rand(2, 20, generator=seeded(0), dtype=torch.float64).requires_grad_()
    labels, weights = rescaled_cleanliness(loc, cls, alpha), cleanliness_weight(loc, cls, alpha, gamma)
    assert labels.tolist() == pytest.approx(naive_labels(loc.tolist(), cls.tolist(), alpha), rel=1e-9)
    assert weights.tolist() == pytest.approx(naive_weights(loc.tolist(), cls.tolist(), alpha, gamma), rel=1e-9)
    assert not labels.requires_grad and not weights.requires_grad
    assert labels.min() == pytest.approx(loc.mean().item()) and labels.max() == pytest.approx(1)
    if gamma == 1:
        assert weights.mean().item() == pytest.approx(1)


def test_by_hand():
    """Two positives of IoU 0.75 and 0.5, of scores 0.5 and 0."""
    loc, cls = torch.tensor([0.75, 0.5]), torch.tensor([0.5, 0.0])
    # f(loc) = 4, 2 with mean 3; f(cls) = 2, 1 with mean 1.5.
    assert cleanliness_weight(loc, cls, 0.75).tolist() == pytest.approx([4 / 3, 2 / 3])
    assert cleanliness_weight(loc, torch.tensor([0.0, 0.5]), 0.75).tolist() == pytest.approx([7 / 6, 5 / 6])
    # The first is the cleaner one in both: labels from the mean localization to 1.
    assert rescaled_cleanliness(loc, cls).tolist() == pytest.approx([1.0, 0.625])


def test_edges():
    one = torch.tensor([0.4])
    assert rescaled_cleanliness(one, torch.tensor([0.1])).tolist() == pytest.approx([0.4])
    assert cleanliness_weight(one, torch.tensor([0.1])).tolist() == pytest.approx([1.0])
    nothing = torch.zeros(3)
    assert rescaled_cleanliness(nothing, nothing).tolist() == [0, 0, 0]
    assert rescaled_cleanliness(torch.zeros(0), torch.zeros(0)).shape == (0,)
    perfect = torch.tensor([1.0, 0.0, 0.0])
    weights = cleanliness_weight(perfect, perfect)
    assert torch.isfinite(weights).all() and weights.mean().item() == pytest.approx(1) and weights.max() <= 3
    for wrong in (-0.1, math.nan, "a"):
        with pytest.raises(ValueError, match="gamma must be a finite number of at least 0"):
            cleanliness_weight(one, one, gamma=wrong)
    with pytest.raises(ValueError, match="alpha must be a number in"):
        rescaled_cleanliness(one, one, 1.5)
    with pytest.raises(ValueError, match="confidence must have the shape of localization"):
        cleanliness_weight(one, nothing)
