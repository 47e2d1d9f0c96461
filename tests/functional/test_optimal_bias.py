import math

import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghm_mmdet.functional import optimal_bias

pytestmark = pytest.mark.usefixtures("on_device")


def total_cross_entropy(bias, num_pos, num_samples, num_classes):
    """Every logit is the bias; each positive has the target 1 in one class."""
    return num_pos * oracles.bce(bias, 1) + (num_samples * num_classes - num_pos) * oracles.bce(bias, 0)


@given(num_samples=st.integers(2, 10**7), num_classes=st.integers(1, 100), share=st.floats(1e-6, 0.99))
def test_no_other_bias_has_less_cross_entropy(num_samples, num_classes, share):
    num_pos = min(max(1, int(share * num_samples)), num_samples - 1)
    bias = optimal_bias(num_pos, num_samples, num_classes)
    best = total_cross_entropy(bias, num_pos, num_samples, num_classes)
    for step in (1e-2, 0.1, 1, 10):
        for other in (bias - step, bias + step):
            assert total_cross_entropy(other, num_pos, num_samples, num_classes) > best


def test_equals_a_search_with_plain_loops():
    grid = [step / 1000 for step in range(-12000, 0)]
    costs = [total_cross_entropy(bias, 30, 5000, 8) for bias in grid]
    assert optimal_bias(30, 5000, 8) == pytest.approx(grid[costs.index(min(costs))], abs=1e-3)


@pytest.mark.parametrize(("num_pos", "num_samples", "num_classes"), [(1, 100, 1), (9808, 8286058, 80), (5, 5, 2)])
def test_its_sigmoid_is_the_share_of_positives(num_pos, num_samples, num_classes):
    bias = optimal_bias(num_pos, num_samples, num_classes)
    assert oracles.sigmoid(bias) == pytest.approx(num_pos / (num_samples * num_classes), rel=1e-12)


def test_even_odds_need_no_bias():
    assert optimal_bias(50, 100) == 0


@pytest.mark.parametrize(
    ("name", "got", "arguments"),
    [
        ("num_pos", "0", (0, 100)),
        ("num_pos", "-1", (-1, 100)),
        ("num_pos", "nan", (math.nan, 100)),
        ("num_pos", "inf", (math.inf, 100)),
        ("num_pos", "'1'", ("1", 100)),
        ("num_pos", "101", (101, 100)),
        ("num_pos", "100", (100, 100)),
        ("num_samples", "0", (1, 0)),
        ("num_samples", "inf", (1, math.inf)),
        ("num_classes", "0", (1, 100, 0)),
        ("num_classes", "1.5", (1, 100, 1.5)),
        ("num_classes", "True", (1, 100, True)),
    ],
)
def test_bad_input_is_named(name, got, arguments):
    with pytest.raises(ValueError, match=name) as error:
        optimal_bias(*arguments)
    assert got in str(error.value)
