"""The pictures of README.md and docs/why.md are drawn by their script, from the library's own functions."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from docs.snippets import REPO

from ghm_mmdet.experiments.study.svg import PAGE_COLOURS
from ghm_mmdet.functional import ghm_c_loss

spec = importlib.util.spec_from_file_location("draw_pictures", REPO / "docs" / "draw_pictures.py")
draw_pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(draw_pictures)


def test_shares_of_the_gradient_against_the_loss_itself() -> None:
    """Elements in the middle of their unit regions: the gradients that autograd gives, summed by region."""
    bins = 5
    positive, negative = torch.tensor([0, 1, 2, 1, 3]), torch.tensor([60, 3, 1, 1, 0])
    middle = (torch.arange(bins, dtype=torch.float64) + 0.5) / bins
    norm = torch.cat([middle.repeat_interleave(positive), middle.repeat_interleave(negative)])
    target = (torch.arange(len(norm)) < positive.sum()).double()
    logits = (target + (1 - 2 * target) * norm).logit().unsqueeze(1).requires_grad_()
    ghm_c_loss(logits, target.unsqueeze(1), bins=bins, max_weight=10.0, normalize="positives").backward()
    size = logits.grad.abs().flatten()
    expected = torch.stack([size[(norm * bins).long() == region].sum() for region in range(bins)]) / size.sum()
    found = draw_pictures.shares(positive, negative)
    torch.testing.assert_close(found["GHM"], expected)
    assert found["cross-entropy"][0] == pytest.approx((60 * 0.1) / float(norm.sum()))


def test_readme_says_what_its_picture_shows() -> None:
    counts = json.loads(draw_pictures.COUNTS.read_text())
    assert len(counts["positive"]) == len(counts["negative"]) == draw_pictures.BINS
    found = draw_pictures.shares(torch.tensor(counts["positive"]), torch.tensor(counts["negative"]))
    said = re.search(r"(\d+) % of cross-entropy's .* (\d+) % of GHM's\]", (REPO / "README.md").read_text())
    assert [int(number) for number in said.groups()] == [
        round(100 * found[name][0].item()) for name in ("cross-entropy", "GHM")
    ]


def test_why_says_what_its_picture_of_wrong_labels_shows() -> None:
    counts = json.loads(draw_pictures.WRONG_LABEL_COUNTS.read_text())
    near_half, background = [], []
    for name in ("released", "cross-entropy", "robust"):
        positive, negative = (counts[name][kind] for kind in ("positive", "negative"))
        assert len(positive) == len(negative) == 30
        near_half.append(100 * sum(positive[12:18]) / sum(positive))
        background.append(100 * sum(negative[3:]) / sum(negative))
    words = " ".join((REPO / "docs" / "why.md").read_text().split())
    said = re.search(
        r"labelled an object, (\d+) % .*? (\d+) % with cross-entropy and (\d+) % with the robust form", words
    )
    assert [int(number) for number in said.groups()] == [round(share) for share in near_half]
    said = re.search(r"other side: (\d+) % .* with the others ([\d.]+) % and ([\d.]+) %", words)
    assert [float(number) for number in said.groups()] == [round(background[0]), *(round(x, 1) for x in background[1:])]


def test_where_training_stops() -> None:
    form = {name: (options, crowd) for name, (options, crowd) in draw_pictures.FORMS.items()}
    for share in (0.1, 0.3, 0.6, 0.9):
        stops = {name: draw_pictures.stops_at(share, crowd, **options) for name, (options, crowd) in form.items()}
        assert stops["released"] == pytest.approx(0.5, abs=0.02)
        assert stops["bounded"] == stops["robust"] == pytest.approx(share, abs=0.01)
        assert stops["robust, no crowd"] == pytest.approx(0.5, abs=0.02)


def test_pictures_are_drawn_the_same_in_light_and_dark_colours(tmp_path: Path) -> None:
    for file, draw in draw_pictures.PICTURES.items():
        draw(tmp_path / file)
        text = (tmp_path / file).read_text()
        assert text == (REPO / "docs" / "pictures" / file).read_text(), "run python docs/draw_pictures.py"
        assert not re.search(r"#0000\d\d|#000[1-9]00", text), "a colour that does not follow the page"
        for name, *_ in {**PAGE_COLOURS, **draw_pictures.COLOURS}.values():
            assert text.count(f"--{name}: #") == 2
