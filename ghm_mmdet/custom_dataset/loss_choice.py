"""The losses that `start` offers, and which one it takes: the one place that follows docs/results.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SMOOTH_L1 = dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0)


@dataclass(frozen=True)
class Loss:
    """A loss as the head's config has it.

    lr_factor: of cross-entropy's learning rate, by the searches on BCCD and digits.
    """

    title: str
    loss_cls: dict[str, Any]
    loss_bbox: dict[str, Any]
    density_scope: str | None = None
    lr_factor: float = 1.0


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
            loss_weight=3.0,
        ),
        dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.1, bins=10, momentum=0.7, loss_weight=10.0),
        density_scope="batch",
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
        lr_factor=2.0,
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


# From common to rare positives; the last that applies is taken. Measured with 22 to 2,325 logits to a positive; the
# border lies between the 529 and the 2,325 of the digits.
RECOMMENDATIONS = (
    Recommendation(0, "ghm", "ahead of cross-entropy and Focal Loss in the mean where positives are as many"),
    Recommendation(1100, "focal", "level with GHM where positives are as rare, and minds the learning rate less"),
)


def recommend(logits_per_positive: float) -> Recommendation:
    """The recommendation for data with so many logits to a positive."""
    return [entry for entry in RECOMMENDATIONS if logits_per_positive >= entry.logits_per_positive][-1]
