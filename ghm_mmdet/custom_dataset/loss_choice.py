"""The losses that `start` offers, and which one it takes: the one place that follows docs/results.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SMOOTH_L1 = dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0)
SOFTER_GHM_R = dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.1, bins=10, momentum=0.7, loss_weight=10.0)


@dataclass(frozen=True)
class Loss:
    """A loss as the head's config has it.

    lr: on the small detector, for 4 images in a step; pairs of logits to a positive and the learning rate from there
        on, which the searches on BCCD (188), digits (529 and 2,325) and cards (1,027) found best. What they found on
        circuit boards (2,390) is higher, 0.01.
    """

    title: str
    loss_cls: dict[str, Any]
    loss_bbox: dict[str, Any]
    density_scope: str | None = None
    lr: tuple[tuple[float, float], ...] = ((0, 0.01), (300, 0.005), (1500, 0.0017))

    def lr_at(self, logits_per_positive: float) -> float:
        return [lr for logits, lr in self.lr if logits_per_positive >= logits][-1]


LOSSES = {
    "ghm": Loss(
        "the robust form of GHM-C with GHM-R",
        dict(
            _delete_=True,
            type="ghm_mmdet.GHMC",
            use_sigmoid=True,
            bins=30,
            momentum=0.75,
            max_weight=10.0,
            normalize="positives",
            loss_weight=1.0,
        ),
        SOFTER_GHM_R,
        density_scope="batch",
    ),
    "threshold": Loss(
        "cross-entropy above a threshold with GHM-R",
        dict(_delete_=True, type="ghm_mmdet.ThresholdCrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        SOFTER_GHM_R,
        lr=((0, 0.01), (300, 0.005)),
    ),
    "ce": Loss(
        "cross-entropy with smooth L1",
        dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True, loss_weight=3.0),
        SMOOTH_L1,
    ),
    "focal": Loss(
        "Focal Loss with smooth L1",
        dict(_delete_=True, type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        SMOOTH_L1,
        lr=((0, 0.02), (300, 0.005)),
    ),
    "ghm-released": Loss(
        "GHM-C and GHM-R as released",
        dict(_delete_=True, type="ghm_mmdet.GHMC", use_sigmoid=True, bins=30, momentum=0.75, loss_weight=1.0),
        dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, loss_weight=10.0),
    ),
}


@dataclass(frozen=True)
class Recommendation:
    """What to take from so many logits to a positive on, and why, as a clause."""

    logits_per_positive: float
    loss: str
    reason: str


# From common to rare positives; the last that applies is taken. Measured with 22 to 2,325 logits to a positive.
RECOMMENDATIONS = (
    Recommendation(0, "ghm", "ahead of cross-entropy and Focal Loss where positives are as many"),
    Recommendation(1000, "threshold", "ahead of cross-entropy and Focal Loss where positives are as rare"),
    Recommendation(5000, "focal", "nothing is measured here where positives are as rare; on COCO GHM is level with it"),
)


def recommend(logits_per_positive: float) -> Recommendation:
    """The recommendation for data with so many logits to a positive."""
    return [entry for entry in RECOMMENDATIONS if logits_per_positive >= entry.logits_per_positive][-1]
