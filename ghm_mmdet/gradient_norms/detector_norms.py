"""The gradient norms of a trained detector, what each loss makes of them, and the picture of both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from ghm_mmdet.config import leaves
from ghm_mmdet.errors import UserError
from ghm_mmdet.functional import focal_gradient_norm, ghm_gradient_norm, region_count, smooth_l1_gradient_norm
from ghm_mmdet.functional.class_target import dense_target
from ghm_mmdet.functional.gradient_histogram import Elements, region_of_valid
from ghm_mmdet.functional.ohem import choose_samples
from ghm_mmdet.gradient_norms.reader import GradientNormReader, find_readable_losses

HEADS = ("bbox_head", "rpn_head")
# A picture has about this many bins, each unit region being cut into equally many.
BINS = 120
CLASSIFICATION_REGIONS, REGRESSION_REGIONS = 30, 10
MU, BETA = 0.02, 0.11
GAMMA, ALPHA = 2.0, 0.25
NEG_POS_RATIO = 3.0
COLORS = {
    "cross-entropy": "tab:blue",
    "OHEM 1:3": "tab:purple",
    "Focal Loss": "tab:orange",
    "GHM-C": "tab:green",
    "smooth L1": "tab:orange",
    "ASL1": "tab:blue",
    "GHM-R": "tab:green",
}


@dataclass
class NormCount:
    """Number of elements of a loss by gradient norm.

    loss: what was looked at.
    splits: bins in each unit region.
    counts: of each kind of element, int64, shape (bins,); the kinds of a classification are ``positive``, ``negative``
        and ``ohem``, those elements of both that OHEM keeps; of a regression ``all``.
    """

    loss: GradientNormReader
    splits: int
    counts: dict[str, Tensor] = field(default_factory=dict)

    @property
    def bins(self) -> int:
        return self.loss.bins * self.splits

    @property
    def total(self) -> Tensor:
        """Number of all elements in each bin."""
        if self.loss.kind == "regression":
            return self.counts["all"]
        return self.counts["positive"] + self.counts["negative"]

    def add(self, kind: str, norm: Tensor, valid: Tensor | None) -> None:
        count = region_count(region_of_valid(norm, self.bins, valid), self.bins).cpu()
        self.counts[kind] = self.counts.get(kind, torch.zeros(self.bins, dtype=torch.int64)) + count

    def add_batch(self, calls: list[Elements]) -> None:
        """Counts what the loss was called with in one batch: once, or once for each level."""
        if self.loss.kind == "regression":
            for elements in calls:
                for part in elements.parts():
                    piece = elements.piece(part)
                    self.add("all", self.loss.norm(piece.pred, piece.target), piece.valid)
            return
        kept = _hardest(calls)
        for elements, keep in zip(calls, kept.split([len(elements.pred) for elements in calls])):
            for part in elements.parts():
                piece = elements.piece(part)
                norm = self.loss.norm(piece.pred, piece.target)
                positive = dense_target(piece.target, piece.pred) > 0
                valid = torch.ones_like(positive) if piece.valid is None else piece.valid.expand_as(positive)
                self.add("positive", norm, valid & positive)
                self.add("negative", norm, valid & ~positive)
                self.add("ohem", norm, valid & keep[part].unsqueeze(1))


def _hardest(calls: list[Elements]) -> Tensor:
    """Which samples of a batch OHEM keeps: all positives, and the negatives of highest loss, three for each."""
    loss, positive, counted = [], [], []
    for elements in calls:
        for part in elements.parts():
            pred, target, valid = elements.piece(part)
            dense = dense_target(target, pred)
            of_logit = F.binary_cross_entropy_with_logits(pred, dense, reduction="none")
            valid = torch.ones_like(pred, dtype=torch.bool) if valid is None else valid.expand_as(pred)
            loss.append(torch.where(valid, of_logit, 0).sum(1))
            positive.append((valid & (dense > 0)).any(1))
            counted.append(valid.any(1))
    if not loss:
        return torch.zeros(0, dtype=torch.bool)
    return choose_samples(torch.cat(loss), torch.cat(positive), torch.cat(counted), NEG_POS_RATIO, num_images=1)


def find_head_losses(model: nn.Module) -> tuple[list[GradientNormReader], list[str]]:
    """The losses of the dense head, a ``bbox_head`` or the RPN, and the reason for one that was left out.

    Raises:
        UserError: there is no dense head, or its classification is not one of a sigmoid for each class.
    """
    name = next((name for name in HEADS if isinstance(getattr(model, name, None), nn.Module)), None)
    if name is None:
        raise UserError(
            f"{type(model).__name__} has no {' and no '.join(HEADS)} to count gradient norms in.\n"
            "Take the config of a one-stage detector, or of one with an RPN."
        )
    head = getattr(model, name)
    if not getattr(getattr(head, "loss_cls", None), "use_sigmoid", False):
        raise UserError(
            f"gradient norms are counted for a classification with use_sigmoid=True, and {name} "
            f"({type(head).__name__}) has none.\nTake a RetinaNet config, or one of a Faster R-CNN."
        )
    found, _ = find_readable_losses(model, [f"{name}.loss_cls"], CLASSIFICATION_REGIONS, MU)
    try:
        found += find_readable_losses(model, [f"{name}.loss_bbox"], REGRESSION_REGIONS, MU)[0]
    except UserError as error:
        return found, [str(error)]
    return found, []


def load_annotations_first(data_set: dict, place: str) -> None:
    """Moves LoadAnnotations to the start of a config's pipelines.

    mmdet's test pipelines have it after Resize, where the boxes keep the size of the original image: right for
    evaluation, wrong for targets.

    Raises:
        UserError: a pipeline loads no annotations.
    """
    for leaf_place, leaf in leaves(data_set, place):
        pipeline = list(leaf.get("pipeline") or [])
        loading = [step for step in pipeline if step["type"].rpartition(".")[2] == "LoadAnnotations"]
        if not loading:
            raise UserError(
                f"{leaf_place}.pipeline has no LoadAnnotations, so there are no targets to take gradients to.\n"
                "Take another --split, or add dict(type='LoadAnnotations', with_bbox=True) to the pipeline."
            )
        rest = [step for step in pipeline if step not in loading]
        images = [index for index, step in enumerate(rest) if step["type"].rpartition(".")[2].startswith("LoadImage")]
        first = images[-1] + 1 if images else 0
        leaf["pipeline"] = [*rest[:first], *loading, *rest[first:]]


def count_gradient_norms(model: Any, losses: list[GradientNormReader], batches: Iterable[dict]) -> list[NormCount]:
    """Run the detector with its targets over the batches.

    Raises:
        UserError: a loss is called in a way that cannot be read, or never.
    """
    counts = [NormCount(loss, max(1, round(BINS / loss.bins))) for loss in losses]
    calls: list[list[Elements]] = [[] for _ in losses]
    hooks = [
        loss.module.register_forward_hook(
            lambda _, args, kwargs, __, loss=loss, of_batch=of_batch: of_batch.append(loss.elements(args, kwargs)),
            with_kwargs=True,
        )
        for loss, of_batch in zip(losses, calls)
    ]
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                model(**model.data_preprocessor(batch, training=True), mode="loss")
                for count, of_batch in zip(counts, calls):
                    count.add_batch(of_batch)
                    of_batch.clear()
    finally:
        for hook in hooks:
            hook.remove()
    for count in counts:
        if not count.counts or not count.total.any():
            raise UserError(f"{count.loss} was given no samples to count.\nCheck the annotations.")
    return counts


@dataclass(frozen=True)
class Curves:
    """What each loss makes of the gradient norms, at the middle of each bin; float64, shape (bins,).

    norm: the gradient norm g.
    count: number of elements.
    reformulated: by the name of the loss, the mean size of an element's gradient, 0 where there is none.
    """

    norm: Tensor
    count: Tensor
    reformulated: dict[str, Tensor]

    def relative(self, name: str) -> Tensor:
        """The reformulated gradient norm over its mean."""
        return self.reformulated[name] * self.count.sum() / self._total(name)

    def contribution(self, name: str) -> Tensor:
        """The share of all elements' gradients that comes from each bin."""
        return self.reformulated[name] * self.count / self._total(name)

    def _total(self, name: str) -> Tensor:
        return (self.reformulated[name] * self.count).sum().clamp(min=1e-300)


def curves_of(count: NormCount) -> Curves:
    """Reformulated gradient norms of the losses that a count can tell."""
    norm = (torch.arange(count.bins, dtype=torch.float64) + 0.5) / count.bins
    total = count.total.double()
    ghm = ghm_gradient_norm(norm, count.total.view(-1, count.splits).sum(1))
    filled = total > 0
    if count.loss.kind == "regression":
        mu, beta = count.loss.mu, getattr(count.loss.module, "beta", BETA)
        scales = {"smooth L1": smooth_l1_gradient_norm(norm, mu, beta), "ASL1": norm, "GHM-R": ghm}
    else:
        positive, negative, ohem = (count.counts[kind].double() for kind in ("positive", "negative", "ohem"))
        alpha = (ALPHA * positive + (1 - ALPHA) * negative) / total.clamp(min=1)
        scales = {
            "cross-entropy": norm,
            "OHEM 1:3": norm * ohem / total.clamp(min=1),
            "Focal Loss": focal_gradient_norm(norm, GAMMA) * alpha,
            "GHM-C": ghm,
        }
    return Curves(norm, total, {name: torch.where(filled, scale, 0.0) for name, scale in scales.items()})


def as_numbers(count: NormCount, curves: Curves) -> dict:
    """What the picture shows, for a JSON file."""
    return {
        "loss": count.loss.name,
        "type": type(count.loss.module).__name__,
        "kind": count.loss.kind,
        "unit_regions": count.loss.bins,
        "gradient_norm": curves.norm.tolist(),
        "count": {kind: of_kind.tolist() for kind, of_kind in count.counts.items()},
        "reformulated_gradient_norm": {name: curves.reformulated[name].tolist() for name in curves.reformulated},
        "contribution": {name: curves.contribution(name).tolist() for name in curves.reformulated},
    }


def draw_gradient_norms(counts: list[NormCount], path: Path) -> None:
    """A row for each loss, after the GHM paper's figures: how many elements have each gradient norm, what size of
    gradient each loss gives them, and what they contribute in all; the latter two with the same total for each loss.
    """
    figure = Figure(figsize=(13, 3.6 * len(counts)), layout="constrained")
    for (left, middle, right), count in zip(figure.subplots(len(counts), 3, squeeze=False), counts):
        curves = curves_of(count)
        _draw_count(left, count)
        middle.set(title="gradient of one element", ylabel="relative to the mean")
        right.set(title="gradient of all elements", ylabel="share of the total")
        for axes, values_of, floor in ((middle, curves.relative, 1e-4), (right, curves.contribution, 1e-5)):
            _draw_curves(axes, {name: values_of(name) for name in curves.reformulated}, floor)
        middle.legend(fontsize=9, loc="lower right")
        symbol = "|d| / √(d² + μ²)" if count.loss.kind == "regression" else "|p - t|"
        for axes in (left, middle, right):
            axes.set(yscale="log", xlim=(0, 1), xlabel=f"gradient norm g = {symbol}")
            axes.minorticks_off()
            axes.grid(alpha=0.25, linewidth=0.6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def _draw_count(axes: Axes, count: NormCount) -> None:
    total = count.total.sum()
    edges = torch.linspace(0, 1, count.bins + 1)
    floor = 0.5 / total.item()
    axes.stairs(count.total / total, edges, baseline=floor, fill=True, color="#b8bec6", label="all")
    if "positive" in count.counts:
        axes.stairs(count.counts["positive"] / total, edges, baseline=floor, color="#c8372d", label="positives")
        axes.legend(fontsize=9, loc="upper center")
    axes.set(title=f"{count.loss.name}: {int(total):,} elements", ylabel="share of all elements", ylim=(floor, 2))


def _draw_curves(axes: Axes, curves: dict[str, Tensor], floor: float) -> None:
    for name, values in curves.items():
        edges = torch.linspace(0, 1, len(values) + 1)
        shown = torch.where(values > 0, values, torch.nan)
        axes.stairs(shown, edges, baseline=None, label=name, color=COLORS[name], linewidth=1.5)
    every = torch.cat(list(curves.values()))
    axes.set_ylim(max(floor, every[every > 0].min().item() / 2), every.max().item() * 2)
