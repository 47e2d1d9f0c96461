"""The gradient norms of a classification over the test data, and a picture of what each loss makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import torch
from mmdet.models.dense_heads.anchor_head import AnchorHead
from torch import Tensor, nn

from ghm_mmdet.engine.errors import UserError
from ghm_mmdet.functional import focal_gradient_norm, region_count, unit_region

matplotlib.use("Agg")

BINS = 100
DENSITY_BINS = 30


class NormRecorder(nn.Module):
    """Stands where a head's classification loss was, and counts the gradient norms of what it is given."""

    def __init__(self):
        super().__init__()
        self.count = torch.zeros(BINS, dtype=torch.int64)
        self.count_of_density = torch.zeros(DENSITY_BINS, dtype=torch.int64)

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor, avg_factor: float | None = None) -> Tensor:
        one_hot = target.unsqueeze(1) == torch.arange(logits.shape[1], device=logits.device)
        norm = (logits.sigmoid() - one_hot.to(logits.dtype)).abs()[weight > 0].cpu()
        self.count += region_count(unit_region(norm, BINS), BINS)
        self.count_of_density += region_count(unit_region(norm, DENSITY_BINS), DENSITY_BINS)
        return logits.sum() * 0


def record_gradient_norms(model: nn.Module, batches: Iterable[dict]) -> NormRecorder:
    """Run the detector with its targets over the batches.

    Raises:
        UserError: the detector has no ``bbox_head`` on anchors with a sigmoid for each class.
    """
    head = getattr(model, "bbox_head", None)
    if not isinstance(head, AnchorHead) or not head.use_sigmoid_cls:
        raise UserError(
            f"gradient norms are counted in a bbox_head on anchors with use_sigmoid=True, this detector has "
            f"{type(head).__name__}.\nTake a RetinaNet config."
        )
    recorder = head.loss_cls = NormRecorder()
    model.eval()
    with torch.no_grad():
        for batch in batches:
            model(**model.data_preprocessor(batch, training=True), mode="loss")
    return recorder


def draw_gradient_norms(recorder: NormRecorder, path: Path) -> None:
    """Three panels, after figure 1 of the GHM paper: how many samples have each gradient norm, what size of gradient
    each loss gives them, and what they contribute in all; the latter two with the same total for each loss.
    """
    from matplotlib import pyplot

    norm = (torch.arange(BINS, dtype=torch.float64) + 0.5) / BINS
    count = recorder.count.double()
    density = recorder.count_of_density.double()[unit_region(norm, DENSITY_BINS)]
    scales = {
        "cross-entropy": norm,
        "Focal Loss": focal_gradient_norm(norm),
        "GHM-C": torch.where(density > 0, norm / density, 0.0),
    }
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(12, 3.4))
    left.semilogy(norm, (count / count.sum()).clamp(min=1e-12), color="black")
    left.set(title="samples", ylabel="share of all samples", ylim=(0.1 / count.sum().item(), 2))
    for name, scale in scales.items():
        total = (scale * count).sum()
        middle.semilogy(norm, (scale / total * count.sum()).clamp(min=1e-12), label=name)
        right.semilogy(norm, (scale * count / total).clamp(min=1e-12), label=name)
    middle.set(title="gradient of one sample", ylabel="relative to the mean", ylim=(1e-4, None))
    right.set(title="gradient of all samples", ylabel="share of the total", ylim=(1e-5, 2))
    for axes in (left, middle, right):
        axes.set_xlabel("gradient norm g = |p - t|")
        axes.grid(alpha=0.3)
    middle.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
