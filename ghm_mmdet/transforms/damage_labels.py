"""Training labels that are wrong on purpose, to measure what label noise costs a detector."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy
from mmcv.transforms import BaseTransform
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor

from ghm_mmdet.registry import TRANSFORMS

KINDS = ("wrong class", "jittered box", "missing box")


@TRANSFORMS.register_module()
class DamageLabels(BaseTransform):
    """Damages a share of the boxes, each in one of three ways, or of those chosen, with equal chance.

    - wrong class: another class, any of the others with equal chance;
    - jittered box: moved and scaled to an IoU of 0.35 to 0.75 with the true box;
    - missing box: taken out.

    An image is damaged in the same way in every epoch, every process and whatever else is random: what happens to it
    follows from ``seed`` and the name of its file. Put it right behind LoadAnnotations.

    Args:
        share: of the boxes that are damaged, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: an integer of at least 0.
        kinds: the ways, of ``"wrong class"``, ``"jittered box"`` and ``"missing box"``.

    Required and modified keys: ``img_path``, ``img_shape``, ``gt_bboxes``, ``gt_bboxes_labels``, ``gt_ignore_flags``.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, share: float, num_classes: int, seed: int = 0, kinds: Sequence[str] = KINDS):
        if not 0 <= share <= 1:
            raise ValueError(f"share must be in [0, 1], got {share!r}")
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, for there to be a wrong class, got {num_classes!r}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed!r}")
        if not kinds or not set(kinds) <= set(KINDS):
            raise ValueError(f"kinds must be some of {', '.join(KINDS)}, got {kinds!r}")
        self.share = share
        self.num_classes = num_classes
        self.seed = seed
        self.kinds = tuple(kinds)

    def transform(self, results: dict) -> dict:
        name = results["img_path"].replace("\\", "/").rsplit("/", 1)[-1]
        random = numpy.random.default_rng([self.seed, zlib.crc32(name.encode())])
        boxes = results["gt_bboxes"].clone()
        tensor = get_box_tensor(boxes)
        labels = results["gt_bboxes_labels"].copy()
        keep = numpy.ones(len(labels), dtype=bool)
        for index in range(len(labels)):
            # Drawn for every box, so that a larger share damages the same boxes and more.
            damaged, kind = random.random() < self.share, self.kinds[random.integers(len(self.kinds))]
            own = numpy.random.default_rng(random.integers(2**32))
            if not damaged:
                continue
            if kind == "wrong class":
                labels[index] = (labels[index] + own.integers(1, self.num_classes)) % self.num_classes
            elif kind == "jittered box":
                tensor[index] = _jittered(tensor[index], results["img_shape"], own)
            else:
                keep[index] = False
        results["gt_bboxes"] = boxes[keep]
        results["gt_bboxes_labels"] = labels[keep]
        results["gt_ignore_flags"] = results["gt_ignore_flags"][keep]
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(share={self.share}, num_classes={self.num_classes}, seed={self.seed}, "
            f"kinds={self.kinds})"
        )


def _jittered(box: Tensor, img_shape: tuple[int, int], random: numpy.random.Generator) -> Tensor:
    """The box moved and scaled until its IoU with the true one is 0.35 to 0.75; as it is where that cannot be."""
    height, width = img_shape[:2]
    size = (box[2:] - box[:2]).repeat(2)
    limit = box.new_tensor([width, height, width, height])
    for _ in range(100):
        shift = box.new_tensor(random.uniform(-0.5, 0.5, 4))
        moved = (box + shift * size).clamp(min=0).minimum(limit)
        if (moved[2:] > moved[:2]).all() and 0.35 <= bbox_overlaps(box[None], moved[None]).item() <= 0.75:
            return moved
    return box
