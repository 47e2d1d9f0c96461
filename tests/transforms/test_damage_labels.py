"""Labels damaged on purpose: how many, in which way, and always the same."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes, bbox_overlaps
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.registry import TRANSFORMS

from ghm_mmdet.errors import UserError
from ghm_mmdet.transforms import DamageLabels

CLASSES = 5


def sample(name: str, boxes: int = 40) -> dict:
    generator = torch.Generator().manual_seed(len(name))
    corner = torch.rand(boxes, 2, generator=generator) * 200 + 50
    size = torch.rand(boxes, 2, generator=generator) * 60 + 20
    return {
        "img_path": f"some/where/{name}.jpg",
        "img_shape": (400, 400),
        "gt_bboxes": HorizontalBoxes(torch.cat([corner, corner + size], 1)),
        "gt_bboxes_labels": np.arange(boxes) % CLASSES,
        "gt_ignore_flags": np.zeros(boxes, dtype=bool),
    }


def damage(share: float, name: str = "a", seed: int = 0) -> dict:
    return DamageLabels(share=share, num_classes=CLASSES, seed=seed)(sample(name))


def changes(share: float, name: str, seed: int = 0) -> list[str]:
    """What happened to each box; the boxes of a sample are all different, so a kept one can be found again."""
    before, after = sample(name), damage(share, name, seed)
    boxes, labels = after["gt_bboxes"].tensor, after["gt_bboxes_labels"]
    found, place = [], 0
    for box, label in zip(before["gt_bboxes"].tensor, before["gt_bboxes_labels"]):
        iou = bbox_overlaps(box[None], boxes[place : place + 1]) if place < len(boxes) else torch.zeros(1, 1)
        if iou.item() == 1:
            found.append("kept" if labels[place] == label else "class")
        elif 0.35 <= iou.item() <= 0.75 and labels[place] == label:
            found.append("moved")
        else:
            found.append("gone")
            continue
        place += 1
    assert place == len(boxes) == len(labels) == len(after["gt_ignore_flags"])
    return found


def test_share_and_kinds():
    found = [change for name in "abcdefghijklmnopqrstuvwxyz" for change in changes(0.4, name)]
    damaged = [change for change in found if change != "kept"]
    # 1,040 boxes: three standard deviations of the share are 0.046.
    assert len(damaged) / len(found) == pytest.approx(0.4, abs=0.05)
    for kind in ("class", "moved", "gone"):
        assert damaged.count(kind) / len(damaged) == pytest.approx(1 / 3, abs=0.08)


@pytest.mark.parametrize("kind", ["wrong class", "jittered box", "missing box"])
def test_one_kind_alone(kind):
    only = DamageLabels(share=1.0, num_classes=CLASSES, kinds=[kind])(sample("a"))
    before = sample("a")
    assert len(only["gt_bboxes"]) == (0 if kind == "missing box" else 40)
    if kind != "missing box":
        assert torch.equal(only["gt_bboxes"].tensor, before["gt_bboxes"].tensor) == (kind == "wrong class")
        assert (only["gt_bboxes_labels"] == before["gt_bboxes_labels"]).all() == (kind == "jittered box")


def test_a_larger_share_damages_the_same_boxes_and_more():
    for name in "abcdefgh":
        few, many = changes(0.2, name), changes(0.5, name)
        assert all(more == less for less, more in zip(few, many) if less != "kept")


def test_same_image_same_damage_other_image_or_seed_other_damage():
    def content(result):
        return result["gt_bboxes"].tensor.tolist(), result["gt_bboxes_labels"].tolist()

    np.random.seed(1)
    first = content(damage(0.5))
    np.random.seed(2)
    torch.manual_seed(2)
    assert content(damage(0.5)) == first
    assert content(damage(0.5, seed=1)) != first
    assert changes(0.5, "b") != changes(0.5, "a")


def test_nothing_and_everything():
    before, after = sample("a"), damage(0.0)
    assert torch.equal(before["gt_bboxes"].tensor, after["gt_bboxes"].tensor)
    assert (before["gt_bboxes_labels"] == after["gt_bboxes_labels"]).all()
    assert "kept" not in changes(1.0, "a")


def test_input_is_left_as_it_was():
    given = sample("a")
    boxes, labels = given["gt_bboxes"], given["gt_bboxes_labels"]
    kept = boxes.tensor.clone(), labels.copy()
    DamageLabels(share=1.0, num_classes=CLASSES)(given)
    assert torch.equal(boxes.tensor, kept[0]) and (labels == kept[1]).all()


def test_moved_box_stays_in_the_image():
    for name in "abcdef":
        given = sample(name)
        given["gt_bboxes"] = HorizontalBoxes(torch.tensor([[0.0, 0.0, 30.0, 40.0], [370.0, 350.0, 400.0, 400.0]] * 20))
        boxes = DamageLabels(share=1.0, num_classes=CLASSES)(given)["gt_bboxes"].tensor
        assert boxes.min() >= 0 and boxes.max() <= 400


def test_no_box():
    given = sample("a", boxes=0)
    assert len(DamageLabels(share=1.0, num_classes=CLASSES)(given)["gt_bboxes"]) == 0


def test_config_finds_it():
    register_all_modules()
    built = TRANSFORMS.build(dict(type="ghm_mmdet.DamageLabels", share=0.2, num_classes=3))
    assert isinstance(built, DamageLabels)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (dict(share=1.5, num_classes=3), "share"),
        (dict(share=0.1, num_classes=1), "num_classes"),
        (dict(share=0.1, num_classes=3, seed=-1), "seed"),
        (dict(share=0.1, num_classes=3, kinds=["no such"]), "kinds"),
        (dict(share=0.1, num_classes=3, kinds=[]), "kinds"),
        (dict(share=0.1, num_classes=2.5), "num_classes"),
        (dict(share=0.1, num_classes=True), "num_classes"),
        (dict(share=0.1, num_classes=3, seed=0.5), "seed"),
        (dict(share=0.1, num_classes=3, kinds=["missing box"] * 2), "kinds"),
        (dict(share=0.1, num_classes=3, kinds="missing box"), "kinds"),
    ],
)
def test_bad_arguments(arguments, named):
    with pytest.raises(ValueError, match=named):
        DamageLabels(**arguments)


def test_the_same_damage_as_ever():
    """What the study's rows in results/ were trained on."""
    after = damage(0.5, "abc", seed=3)
    assert len(after["gt_bboxes"]) == 29
    assert zlib.crc32(after["gt_bboxes"].tensor.numpy().tobytes()) == 2786801940
    assert zlib.crc32(after["gt_bboxes_labels"].tobytes()) == 2016203204


def test_masks_and_key_points_stay_with_their_objects():
    given = sample("a")
    rows = np.arange(40)
    given["gt_masks"] = BitmapMasks([np.full((4, 4), row, np.uint8) for row in rows], 4, 4)
    given["gt_keypoints"] = rows[:, None].repeat(2, 1)
    original = {tuple(box): row for row, box in enumerate(given["gt_bboxes"].tensor.tolist())}
    after = DamageLabels(share=0.6, num_classes=CLASSES, kinds=["missing box", "wrong class"])(given)
    expected = [original[tuple(box)] for box in after["gt_bboxes"].tensor.tolist()]
    assert 0 < len(expected) < 40
    assert after["gt_masks"].masks[:, 0, 0].tolist() == expected == after["gt_keypoints"][:, 0].tolist()


def test_labels_beyond_num_classes_are_refused():
    with pytest.raises(UserError, match=r"label 4 in some/where/a\.jpg, num_classes=4"):
        DamageLabels(share=0.0, num_classes=4)(sample("a"))


def test_bogus_boxes_with_masks_are_refused():
    given = {**sample("a"), "gt_masks": BitmapMasks(np.zeros((40, 4, 4), np.uint8), 4, 4)}
    with pytest.raises(UserError, match="bogus box has no gt_masks"):
        DamageLabels(share=1.0, num_classes=CLASSES, kinds=["bogus box"])(given)


def test_bogus_boxes_are_where_nothing_is():
    added = 0
    for name in "abcdefgh":
        given = sample(name, boxes=4)
        true = given["gt_bboxes"].tensor.clone()
        after = DamageLabels(share=1.0, num_classes=CLASSES, kinds=["bogus box"])(given)
        boxes, labels = after["gt_bboxes"].tensor, after["gt_bboxes_labels"]
        assert torch.equal(boxes[:4], true) and (labels[:4] == given["gt_bboxes_labels"][:4]).all()
        assert len(boxes) == len(labels) == len(after["gt_ignore_flags"])
        assert not after["gt_ignore_flags"].any() and (labels < CLASSES).all()
        assert (bbox_overlaps(boxes[4:], true) < 0.1).all()
        assert boxes.min() >= 0 and boxes.max() <= 400
        added += len(boxes) - 4
    assert added == 32


def test_each_kind_hits_its_share():
    """UNA's protocol: the share is that of each kind, independently."""
    kept = moved = wrong = added = 0
    kinds = ["wrong class", "jittered box", "missing box", "bogus box"]
    for name in map("{:03d}".format, range(100)):
        before = sample(name, boxes=8)
        after = DamageLabels(share=0.3, num_classes=CLASSES, kinds=kinds, each_kind=True)(sample(name, boxes=8))
        nearest = bbox_overlaps(after["gt_bboxes"].tensor, before["gt_bboxes"].tensor).max(1)
        real = nearest.values >= 0.1
        added += int((~real).sum())
        kept += int(real.sum())
        moved += int((nearest.values[real] < 0.99).sum())
        exact = nearest.values > 0.99
        labels = before["gt_bboxes_labels"][nearest.indices[exact].numpy()]
        wrong += int((labels != after["gt_bboxes_labels"][exact.numpy()]).sum())
    # Three standard deviations of a share of 0.3 among 800, 560 and 392 boxes.
    assert kept / 800 == pytest.approx(0.7, abs=0.049)
    assert moved / kept == pytest.approx(0.3, abs=0.058)
    assert wrong / (kept - moved) == pytest.approx(0.3, abs=0.07)
    assert added / 800 == pytest.approx(0.3, abs=0.049)
