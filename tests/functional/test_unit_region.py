import pytest
import torch
from seeds import seeded

from ghm_mmdet.functional import harmonizing_weight, region_count, unit_region

pytestmark = pytest.mark.usefixtures("on_device")


@pytest.mark.parametrize("bins", [1, 2, 3, 5, 7, 10, 20, 23, 30, 40, 49, 100, 300, 997])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_region_changes_exactly_at_the_edges(bins, dtype):
    edges = torch.arange(bins, dtype=dtype) / bins
    assert unit_region(edges, bins).tolist() == list(range(bins))
    below = torch.nextafter(edges[1:], torch.zeros((), dtype=dtype))
    assert unit_region(below, bins).tolist() == list(range(bins - 1))


@pytest.mark.parametrize("bins", [1, 10, 30, 299])
def test_region_equals_a_search_among_the_edges(bins):
    gradient_norm = torch.rand(200_000, generator=seeded(bins))
    edges = torch.arange(bins + 1).float() / bins
    assert torch.equal(unit_region(gradient_norm, bins), torch.bucketize(gradient_norm, edges[1:-1], right=True))


def test_last_region_takes_one_and_more():
    assert unit_region(torch.tensor([0.999, 1.0, 1.5, float("inf")]), 10).tolist() == [9, 9, 9, 9]


def test_nan_stays_inside_the_table():
    assert 0 <= unit_region(torch.tensor([float("nan")]), 10).item() < 10


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 70_001])
def test_count_equals_bincount_without_what_is_left_out(size):
    region = torch.randint(0, 8, (size,), generator=seeded(size))
    assert torch.equal(region_count(region, 7), torch.bincount(region, minlength=8)[:7])


def test_a_moving_average_needs_its_buffer():
    with pytest.raises(ValueError, match="acc_sum must be the moving average"):
        harmonizing_weight(torch.tensor([1, 2]), torch.tensor(3.0), momentum=0.5)
