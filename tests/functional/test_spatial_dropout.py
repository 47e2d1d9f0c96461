import pytest
import torch

from ghm_mmdet.functional.spatial_dropout import occlusion_windows, sample_occlusion

pytestmark = pytest.mark.usefixtures("on_device")


@pytest.mark.parametrize(
    ("height", "width", "size", "stride"), [(7, 7, 2, 2), (7, 5, 3, 1), (4, 4, 4, 3), (3, 8, 1, 2)]
)
def test_windows_equal_naive(height, width, size, stride):
    expected = []
    for top in range(0, height, stride):
        for left in range(0, width, stride):
            y, x = min(top, height - size), min(left, width - size)
            expected.append([[y <= i < y + size and x <= j < x + size for j in range(width)] for i in range(height)])
    windows = occlusion_windows(height, width, size, stride)
    assert windows.tolist() == expected and (windows.flatten(1).sum(1) == size * size).all()


def test_released_windows():
    windows = occlusion_windows(7, 7)
    assert windows.shape == (16, 7, 7) and windows.any(0).all()


@pytest.mark.parametrize(("candidates", "dropped"), [(20, 15), (5, 5), (49, 0), (49, 10)])
def test_occlusion_is_drawn_from_the_marked_cells(candidates, dropped):
    torch.manual_seed(0)
    logits = torch.randn(6, 7, 7)
    marked = logits.flatten(1).argsort(dim=1, descending=True)[:, :candidates].tolist()
    seen = [set() for _ in range(6)]
    for _ in range(40):
        occluded = sample_occlusion(logits, candidates, dropped)
        assert occluded.dtype == torch.bool and occluded.shape == logits.shape
        for row, cells, found in zip(occluded.flatten(1), marked, seen):
            drawn = set(row.nonzero().flatten().tolist())
            assert len(drawn) == dropped and drawn <= set(cells)
            found |= drawn
    if dropped:
        assert all(found == set(cells) for found, cells in zip(seen, marked))
    assert sample_occlusion(logits[:0], candidates, dropped).shape == (0, 7, 7)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("got size 8 and stride 2", lambda: occlusion_windows(7, 9, 8)),
        ("got size 2 and stride 0", lambda: occlusion_windows(7, 7, 2, 0)),
        ("got dropped 5 and candidates 4", lambda: sample_occlusion(torch.zeros(1, 3, 3), 4, 5)),
        ("at most 9, the cells of a region", lambda: sample_occlusion(torch.zeros(1, 3, 3))),
    ],
)
def test_bad_input_is_named(message, call):
    with pytest.raises(ValueError, match=message):
        call()
