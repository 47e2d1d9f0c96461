"""Training labels that are wrong on purpose, to measure what label noise costs a detector."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy
import torch
from mmcv.transforms import BaseTransform
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor

from ghm_mmdet.errors import UserError
from ghm_mmdet.registry import TRANSFORMS

KINDS = ("wrong class", "jittered box", "missing box")
BOGUS = "bogus box"
# What has one row for each object and goes where its box goes.
PER_OBJECT = ("gt_masks", "gt_keypoints", "gt_keypoints_visible", "gt_instances_ids")


@TRANSFORMS.register_module()
class DamageLabels(BaseTransform):
    """Damages a share of the boxes, each in one of three ways, or of those chosen, with equal chance.

    - wrong class: another class, any of the others with equal chance;
    - jittered box: moved and scaled to an IoU of 0.35 to 0.75 with the true box;
    - missing box: taken out;
    - bogus box: kept, and a box of its size, of any class, is added where nothing is (IoU below 0.1 with every true
      box), if a place is found. Only where ``kinds`` names it.

    Masks, key points and the like stay with their objects; the mask of a jittered box stays where it is.

    With ``each_kind`` the share is that of each kind, independently, as in the UNA benchmark (Ryou et al., arXiv
    2312.13822): a box may be moved and of a wrong class.

    An image is damaged in the same way in every epoch, every process and whatever else is random: what happens to it
    follows from ``seed`` and the name of its file. Put it right behind LoadAnnotations.

    Args:
        share: of the boxes that are damaged, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: an integer of at least 0.
        kinds: the ways, of ``"wrong class"``, ``"jittered box"``, ``"missing box"`` and ``"bogus box"``.
        each_kind: whether each kind hits the share of the boxes, in place of one of them.

    Required and modified keys: ``img_path``, ``img_shape``, ``gt_bboxes``, ``gt_bboxes_labels``, ``gt_ignore_flags``.

    Raises:
        ValueError: an argument is out of its range.
        UserError: a label is not below ``num_classes``, or a bogus box would need a mask or key points.
    """

    def __init__(
        self, share: float, num_classes: int, seed: int = 0, kinds: Sequence[str] = KINDS, each_kind: bool = False
    ):
        if not 0 <= share <= 1:
            raise ValueError(f"share must be in [0, 1], got {share!r}")
        if not _is_integer(num_classes) or num_classes < 2:
            raise ValueError(
                f"num_classes must be an integer of at least 2, for there to be a wrong class, got {num_classes!r}"
            )
        if not _is_integer(seed) or seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed!r}")
        if isinstance(kinds, str) or not kinds or not set(kinds) <= {*KINDS, BOGUS} or len(set(kinds)) < len(kinds):
            raise ValueError(f"kinds must be different ones of {', '.join((*KINDS, BOGUS))}, got {kinds!r}")
        self.share = share
        self.num_classes = num_classes
        self.seed = seed
        self.kinds = tuple(kinds)
        self.each_kind = each_kind

    def transform(self, results: dict) -> dict:
        name = results["img_path"].replace("\\", "/").rsplit("/", 1)[-1]
        random = numpy.random.default_rng([self.seed, zlib.crc32(name.encode())])
        boxes = results["gt_bboxes"].clone()
        tensor = get_box_tensor(boxes)
        labels = results["gt_bboxes_labels"].copy()
        if len(labels) and labels.max() >= self.num_classes:
            raise UserError(
                f"DamageLabels: the label {labels.max()} in {results['img_path']}, num_classes={self.num_classes}\n"
                "Set num_classes to the number of classes of the data."
            )
        present = [key for key in PER_OBJECT if key in results]
        if present and BOGUS in self.kinds:
            raise UserError(f"DamageLabels: a bogus box has no {present[0]}\nLeave {BOGUS!r} out of kinds.")
        keep = numpy.ones(len(labels), dtype=bool)
        bogus, true = [], tensor.clone()
        for index in range(len(labels)):
            for kind, own in self._damages_of_one(random):
                if kind == "wrong class":
                    labels[index] = (labels[index] + own.integers(1, self.num_classes)) % self.num_classes
                elif kind == "jittered box":
                    tensor[index] = _jittered(tensor[index], results["img_shape"], own)
                elif kind == "missing box":
                    keep[index] = False
                else:
                    bogus.append((_elsewhere(true[index], true, results["img_shape"], own), own))
        for key in present:
            results[key] = results[key][keep]
        added = [(box, own.integers(self.num_classes)) for box, own in bogus if box is not None]
        kept = tensor[torch.as_tensor(keep)]
        results["gt_bboxes"] = type(boxes)(torch.cat([kept, *(box[None] for box, _ in added)]))
        new_labels = numpy.array([label for _, label in added], dtype=labels.dtype)
        results["gt_bboxes_labels"] = numpy.concatenate([labels[keep], new_labels])
        flags = results["gt_ignore_flags"][keep]
        results["gt_ignore_flags"] = numpy.concatenate([flags, numpy.zeros(len(added), dtype=flags.dtype)])
        return results

    def _damages_of_one(self, random: numpy.random.Generator) -> list[tuple[str, numpy.random.Generator]]:
        """What happens to the next box. Drawn for every box, so that a larger share damages the same boxes and more."""
        if not self.each_kind:
            damaged, kind = random.random() < self.share, self.kinds[random.integers(len(self.kinds))]
            own = numpy.random.default_rng(random.integers(2**32))
            return [(kind, own)] if damaged else []
        drawn = [(kind, random.random(), random.integers(2**32)) for kind in self.kinds]
        return [(kind, numpy.random.default_rng(seed)) for kind, chance, seed in drawn if chance < self.share]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(share={self.share}, num_classes={self.num_classes}, seed={self.seed}, "
            f"kinds={self.kinds}, each_kind={self.each_kind})"
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


def _elsewhere(box: Tensor, true: Tensor, img_shape: tuple[int, int], random: numpy.random.Generator) -> Tensor | None:
    """The box at another place in the image, with an IoU below 0.1 with every true box; None where none is found."""
    height, width = img_shape[:2]
    size = box[2:] - box[:2]
    room = box.new_tensor([width, height]) - size
    if not (size > 0).all() or (room < 0).any():
        return None
    for _ in range(100):
        corner = box.new_tensor(random.random(2)) * room
        moved = torch.cat([corner, corner + size])
        if bbox_overlaps(moved[None], true).max() < 0.1:
            return moved
    return None


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, numpy.integer)) and not isinstance(value, bool)
