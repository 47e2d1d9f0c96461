"""Draw the pictures of README.md and docs/why.md: python docs/draw_pictures.py.

`trained_on.svg`: which stretch of the gradient norm the gradient comes from, with cross-entropy and with the robust
form of GHM-C, from the counts in pictures/gradient_norm_counts.json, which `counts_of` took from a trained detector.
`why.svg`: where training stops for objects that cannot be told from background, from the library's own loss.
`wrong_labels.svg`: gradient norms at the end of trainings with wrong labels, from the counts of three such detectors in
pictures/wrong_label_counts.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy
import torch

from ghm_mmdet.experiments.study.svg import FAINT, TEXT, page_figure, write_svg
from ghm_mmdet.functional import ghm_c_loss, harmonizing_weight

FOLDER = Path(__file__).resolve().parent / "pictures"
COUNTS = FOLDER / "gradient_norm_counts.json"
WRONG_LABEL_COUNTS = FOLDER / "wrong_label_counts.json"
BINS = 30
MAX_WEIGHT = 10.0
# Okabe and Ito's blue and vermilion, which colour-blind people can tell apart, on light and on dark ground.
CROSS_ENTROPY, GHM, RELEASED = "#000400", "#000500", "#000600"
COLOURS = {
    CROSS_ENTROPY: ("ce", "#0072b2", "#56b4e9"),
    GHM: ("ghm", "#d55e00", "#ff8a3d"),
    RELEASED: ("released", "#a3457f", "#ee8fdc"),
}


def counts_of(gradients: Path) -> dict[str, list[int]]:
    """What the pictures need of the JSON that `ghm-mmdet gradients CONFIG CHECKPOINT` writes."""
    of_loss = next(loss for loss in json.loads(gradients.read_text())["losses"] if loss["kind"] == "classification")
    kinds = ("positive", "negative")
    return {kind: numpy.reshape(of_loss["count"][kind], (BINS, -1)).sum(1).tolist() for kind in kinds}


def shares(positive: torch.Tensor, negative: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the gradient of all elements, what comes from each unit region.

    Args:
        positive: number of positives in each unit region, shape (M,).
        negative: the same of negatives.
    """
    count = (positive + negative).double()
    norm = (torch.arange(len(count), dtype=torch.float64) + 0.5) / len(count)
    weights = {
        "cross-entropy": torch.ones_like(count),
        "GHM": harmonizing_weight(count, count.sum(), max_weight=MAX_WEIGHT),
    }
    return {name: weight * norm * count / (weight * norm * count).sum() for name, weight in weights.items()}


def draw_trained_on(path: Path) -> None:
    counts = json.loads(COUNTS.read_text())
    found = shares(torch.tensor(counts["positive"]), torch.tensor(counts["negative"]))
    figure, (axes,) = page_figure([3.4])
    edges = numpy.linspace(0, 1, BINS + 1)
    for name, colour in (("cross-entropy", CROSS_ENTROPY), ("GHM", GHM)):
        axes.stairs(100 * found[name].numpy(), edges, baseline=None, color=colour, linewidth=2.5)
    easy = {name: 100 * share[0].item() for name, share in found.items()}
    top = max(easy.values())
    axes.set(xlim=(-0.01, 1), ylim=(0, top * 1.1), xticks=[0, 0.5, 1], xticklabels=["0, right", "0.5", "1, wrong"])
    axes.set_xlabel("gradient norm: how wrong a prediction is", fontsize=TEXT)
    axes.set_title("% of the gradient", fontsize=TEXT, loc="left", color=FAINT)
    text = dict(fontsize=TEXT, linespacing=1.3)
    said = f"cross-entropy: {easy['cross-entropy']:.0f} % from\nbackground that is right already"
    axes.text(0.06, top, said, color=CROSS_ENTROPY, va="top", **text)
    said = f"GHM: {easy['GHM']:.0f} % from there, the rest\nfrom what is not learned yet"
    axes.text(0.2, top * 0.24, said, color=GHM, va="bottom", **text)
    write_svg(figure, path, COLOURS)


def stops_at(share: float, crowd: int, group: int = 100, **form: object) -> float:
    """The score at which training stops for a group of elements that nothing tells apart.

    The loss has its minimum where its gradient changes sign; the weights are constants of the gradient.

    Args:
        share: of the group that is positive.
        crowd: easy negatives beside the group.
        group: number of its elements.
        form: arguments of `ghm_c_loss`.
    """
    target = torch.zeros(crowd + group, 1)
    target[: round(share * group)] = 1
    low, high = 0.0, 1.0
    for _ in range(24):
        middle = (low + high) / 2
        logit = torch.tensor(middle, dtype=torch.float64).logit().requires_grad_()
        logits = torch.cat([logit.expand(group), torch.full((crowd,), -8.0, dtype=torch.float64)]).unsqueeze(1)
        ghm_c_loss(logits, target, bins=BINS, **form).backward()
        low, high = (low, middle) if logit.grad > 0 else (middle, high)
    return (low + high) / 2


# Of GHM-C; what follows from them, and beside how large a crowd of easy negatives.
FORMS: dict[str, tuple[dict[str, object], int]] = {
    "released": ({}, 5_000),
    "bounded": ({"max_weight": MAX_WEIGHT}, 5_000),
    "robust": ({"max_weight": MAX_WEIGHT, "normalize": "positives"}, 5_000),
    "robust, no crowd": ({"max_weight": MAX_WEIGHT, "normalize": "positives"}, 30),
}


def draw_why(path: Path) -> None:
    figure, (axes,) = page_figure([4.4])
    share = numpy.linspace(0.02, 0.98, 49)
    styles = {
        "released": (RELEASED, "-", 2.5),
        "bounded": (CROSS_ENTROPY, "-", 5),
        "robust": (GHM, "-", 2),
        "robust, no crowd": (GHM, ":", 3.5),
    }
    for name, (form, crowd) in FORMS.items():
        colour, line, width = styles[name]
        axes.plot(share, [stops_at(each, crowd, **form) for each in share], line, color=colour, linewidth=width)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], aspect="equal")
    axes.set_xlabel("η: share of objects in the group", fontsize=TEXT)
    axes.set_title("p: score at which training stops", fontsize=TEXT, loc="left", color=FAINT)
    text = dict(fontsize=TEXT, linespacing=1.3)
    axes.text(0.02, 0.52, "released: 1/2,\nwhatever η", color=RELEASED, va="bottom", **text)
    axes.text(0.62, 0.98, "bounded,", color=CROSS_ENTROPY, va="top", ha="right", **text)
    axes.text(0.62, 0.9, "and robust: p = η", color=GHM, va="top", ha="right", **text)
    axes.text(0.99, 0.02, "dotted: robust,\nwithout a crowd", color=GHM, va="bottom", ha="right", **text)
    write_svg(figure, path, COLOURS)


def draw_wrong_labels(path: Path) -> None:
    counts = json.loads(WRONG_LABEL_COUNTS.read_text())
    figure, (of_positives, of_negatives) = page_figure([3.2, 2.6])
    edges = numpy.linspace(0, 1, BINS + 1)
    drawn = (("cross-entropy", CROSS_ENTROPY, 4), ("released", RELEASED, 2.5), ("robust", GHM, 2.5))
    for name, colour, width in drawn:
        for axes, kind in ((of_positives, "positive"), (of_negatives, "negative")):
            share = 100 * numpy.array(counts[name][kind]) / sum(counts[name][kind])
            axes.stairs(share, edges, baseline=None, color=colour, linewidth=width)
    ticks = dict(xlim=(0, 1), xticks=[0, 0.5, 1], xticklabels=["0, right", "0.5", "1, wrong"])
    of_positives.set(ylim=(0, 30), yticks=[0, 10, 20, 30], **ticks)
    of_positives.set_title("% of what is labelled an object", fontsize=TEXT, loc="left", color=FAINT)
    of_negatives.set(ylim=(1e-5, 200), yscale="log", yticks=[1e-4, 1e-2, 1, 100], **ticks)
    of_negatives.set_yticklabels(["0.0001", "0.01", "1", "100"])
    of_negatives.set_title("% of what is labelled background", fontsize=TEXT, loc="left", color=FAINT)
    of_negatives.set_xlabel("gradient norm: how wrong a prediction is", fontsize=TEXT)
    text = dict(fontsize=TEXT, linespacing=1.3, va="top")
    of_positives.text(0.03, 29, "GHM-C released:\nall near 1/2", color=RELEASED, **text)
    of_positives.text(0.62, 29, "cross-entropy,", color=CROSS_ENTROPY, **text)
    of_positives.text(0.62, 25.4, "and robust", color=GHM, **text)
    write_svg(figure, path, COLOURS)


PICTURES: dict[str, Callable[[Path], None]] = {
    "trained_on.svg": draw_trained_on,
    "why.svg": draw_why,
    "wrong_labels.svg": draw_wrong_labels,
}

if __name__ == "__main__":
    for file, draw in PICTURES.items():
        draw(FOLDER / file)
        print(f"written: {FOLDER / file}")
