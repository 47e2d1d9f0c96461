"""tools/analysis/gradient_norms.py against loops over what the losses were given, and with bad input."""

from __future__ import annotations

import json
import math

import cv2
import oracles
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed
from small_detectors import faster_rcnn
from tools.running import call_tool, start_tool
from tools.test_checkpoint_safety import run_by_os

from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints, read_checkpoint
from ghm_mmdet.functional import ohem_loss
from ghm_mmdet.gradient_norms.detector_norms import count_gradient_norms, curves_of, find_head_losses

TOOL = "analysis/gradient_norms"


def witnessed(model, batches) -> list[dict[str, list]]:
    """What loss_cls and loss_bbox of the dense head were called with, by batch."""
    head = model.bbox_head if hasattr(model, "bbox_head") else model.rpn_head
    seen = []
    for name in ("loss_cls", "loss_bbox"):
        getattr(head, name).register_forward_hook(
            lambda module, inputs, output, name=name: seen[-1].setdefault(name, []).append(inputs[:3])
        )
    for batch in batches:
        seen.append({})
        yield batch
    assert len(seen) > 1
    witnessed.seen = seen


@pytest.fixture(scope="module")
def model_and_batches(shapes):
    """Trained, on level scope: a call for each of four levels."""
    init_default_scope("mmdet")
    cfg = Config.fromfile(shapes.config)
    model = MODELS.build(cfg.model)
    allow_mmengine_checkpoints()
    model.load_state_dict(read_checkpoint(str(shapes.checkpoint))["state_dict"])
    set_random_seed(0)
    return model, Runner.build_dataloader(cfg.train_dataloader, seed=0)


def test_counts_and_curves_are_those_of_loops(model_and_batches):
    model, batches = model_and_batches
    losses, left_out = find_head_losses(model)
    assert [loss.name for loss in losses] == ["bbox_head.loss_cls", "bbox_head.loss_bbox"] and left_out == []
    classification, regression = count_gradient_norms(model, losses, witnessed(model, batches))
    assert (classification.bins, regression.bins) == (120, 120)
    positive, negative, kept = ([0] * 120 for _ in range(3))
    # Sums of each loss's gradients over the 30 regions, element by element.
    focal, ohem = [0.0] * 30, [0.0] * 30
    for calls in witnessed.seen:
        rows = [(x, y, w) for call in calls["loss_cls"] for x, y, w in zip(*call)]
        logits = torch.stack([x for x, _, _ in rows]).double().requires_grad_()
        labels, weight = torch.stack([y for _, y, _ in rows]), torch.stack([w for _, _, w in rows])
        gradient = torch.autograd.grad(ohem_loss(logits, labels, weight, 3.0).sum(), logits)[0].abs()
        targets = oracles.one_hot(labels.tolist(), 3)
        for x, t, v, slope in zip(
            logits.flatten().tolist(), targets, (weight > 0).repeat_interleave(3).tolist(), gradient.flatten().tolist()
        ):
            if not v:
                continue
            g = abs(oracles.sigmoid(x) - t)
            j = oracles.region(g, 120)
            (positive if t else negative)[j] += 1
            kept[j] += slope > 0
            ohem[j // 4] += slope
            focal[j // 4] += (0.25 if t else 0.75) * g**2 * (g - 2 * (1 - g) * math.log(1 - g))
    assert classification.counts["positive"].tolist() == positive and sum(positive) > 0
    assert classification.counts["negative"].tolist() == negative
    assert classification.counts["ohem"].tolist() == kept and sum(kept) < sum(positive) + sum(negative)

    curves = curves_of(classification)
    shares = {name: curves.contribution(name).view(30, 4).sum(1) for name in curves.reformulated}
    for name, sums in (("OHEM 1:3", ohem), ("Focal Loss", focal)):
        # Within a bin the curve takes the middle for every element.
        assert shares[name].tolist() == pytest.approx([s / sum(sums) for s in sums], abs=0.02)
        assert shares[name].sum().item() == pytest.approx(1)
    count = torch.tensor([p + n for p, n in zip(positive, negative)]).view(30, 4).sum(1)
    filled = count > 0
    beta = count.sum() / (count * filled.sum())
    ghm = curves.reformulated["GHM-C"].view(30, 4)
    norm = curves.norm.view(30, 4)
    has = curves.count.view(30, 4) > 0
    torch.testing.assert_close((ghm / norm)[has], beta.double().unsqueeze(1).expand(30, 4)[has])

    counted = [0] * 120
    for calls in witnessed.seen:
        for pred, target, weight in calls["loss_bbox"]:
            for d, w in zip((pred - target).flatten().tolist(), weight.flatten().tolist()):
                counted[oracles.region(abs(d) / math.hypot(d, 0.02), 120)] += w > 0
    assert regression.counts["all"].tolist() == counted
    boxes = curves_of(regression)
    assert boxes.reformulated["ASL1"][boxes.count > 0].equal(boxes.norm[boxes.count > 0])
    for name in boxes.reformulated:
        assert boxes.contribution(name).sum().item() == pytest.approx(1)


def numbers(path) -> list[dict]:
    return json.loads(path.read_text())["losses"]


def elements(loss: dict) -> int:
    return sum(loss["count"]["positive"]) + sum(loss["count"]["negative"])


def test_from_a_shell(shapes, tmp_path):
    done = start_tool(f"{TOOL}.py", shapes.config, shapes.checkpoint, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and "100%" in done.stderr
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        "work_dirs/gradient_norms.json",
        "work_dirs/gradient_norms.png",
    ]
    picture = cv2.imread(str(tmp_path / "work_dirs/gradient_norms.png"))
    assert picture.shape[1] > 1000 and picture.std() > 10
    classification, regression = numbers(tmp_path / "work_dirs/gradient_norms.json")
    assert list(classification["contribution"]) == ["cross-entropy", "OHEM 1:3", "Focal Loss", "GHM-C"]
    assert list(regression["contribution"]) == ["smooth L1", "ASL1", "GHM-R"]
    for loss in (classification, regression):
        for share in loss["contribution"].values():
            assert sum(share) == pytest.approx(1)
    assert f"bbox_head.loss_cls (GHMC): {elements(classification):,} elements" in done.stdout
    easy = sum(c for g, c in zip(classification["gradient_norm"], classification["contribution"]["GHM-C"]) if g < 0.1)
    assert f"GHM-C           {easy:9.4%} with g < 0.1" in done.stdout


def test_every_split_and_fewer_images(shapes, tmp_path, capsys):
    found = {}
    for name, options in {
        "test": [],
        "again": ["--split", "test"],
        "train": ["--split", "train"],
        "few": ["--max-images", "3"],
    }.items():
        out = tmp_path / f"{name}.png"
        call_tool(TOOL, [str(shapes.config), str(shapes.checkpoint), "--out", str(out), *options])
        found[name] = numbers(out.with_suffix(".json"))
    assert found["again"] == found["test"]
    # The same eight images, in another order.
    assert found["train"][0]["count"]["positive"] == found["test"][0]["count"]["positive"]
    # Three of eight images, which differ a little in what is ignored.
    assert elements(found["few"][0]) == pytest.approx(elements(found["test"][0]) * 3 / 8, rel=0.05)


def test_boxes_follow_the_size_of_the_image_wherever_they_are_loaded(shapes, tmp_path, capsys):
    """mmdet's test pipelines load them after Resize."""
    found = []
    for name, order in (("first", (0, 1, 2, 3)), ("last", (0, 2, 1, 3))):
        cfg = Config.fromfile(shapes.config)
        pipeline = cfg.test_dataloader.dataset.pipeline
        pipeline[2].scale = (128, 128)
        cfg.test_dataloader.dataset.pipeline = [pipeline[index] for index in order]
        cfg.dump(tmp_path / f"{name}.py")
        out = tmp_path / f"{name}.png"
        call_tool(TOOL, [str(tmp_path / f"{name}.py"), str(shapes.checkpoint), "--out", str(out)])
        found.append(numbers(out.with_suffix(".json")))
    assert found[0] == found[1]
    assert sum(found[0][0]["count"]["positive"]) > 0


def test_an_rpn_and_a_loss_that_is_none_of_a_difference(shapes, tmp_path, capsys):
    cfg = faster_rcnn(tmp_path, shapes.data)
    cfg.model.rpn_head.update(reg_decoded_bbox=True)
    cfg.model.rpn_head.loss_bbox = dict(type="GIoULoss", loss_weight=1.0)
    cfg.dump(tmp_path / "config.py")
    torch.save({"state_dict": MODELS.build(cfg.model).state_dict()}, tmp_path / "a.pth")
    call_tool(TOOL, [str(tmp_path / name) for name in ("config.py", "a.pth")] + ["--out", str(tmp_path / "a.png")])
    said = capsys.readouterr()
    # 256 anchors in each of 8 images.
    assert "rpn_head.loss_cls (CrossEntropyLoss): 2,048 elements" in said.out
    assert "no gradient norms in rpn_head.loss_bbox (GIoULoss)" in said.err
    (loss,) = json.loads((tmp_path / "a.json").read_text())["losses"]
    assert loss["unit_regions"] == 30 and sum(loss["count"]["positive"]) > 0


def test_a_checkpoint_with_code_is_refused(shapes, tmp_path, fails):
    marker, bad = tmp_path / "marker", tmp_path / "bad.pth"
    torch.save({"state_dict": {}, "meta": run_by_os(marker)}, bad)
    fails(TOOL, [shapes.config, bad], "checkpoint refused", "None of its code ran", str(bad))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["gone.py", "{checkpoint}"], ["config not found", "gone.py"]),
        (["{config}", "gone.pth"], ["checkpoint not found", "gone.pth"]),
        (["{config}", "{config}"], ["not a whole checkpoint"]),
        (["{config}", "{checkpoint}", "--out", "a.gif"], ["its name must end in .png", "a.gif"]),
        (["{config}", "{checkpoint}", "--max-images", "0"], ["--max-images: got '0'"]),
        (["{config}", "{checkpoint}", "--cfg-options", "test_dataloader=None"], ["defines no test_dataloader"]),
        (
            ["{config}", "{checkpoint}", "--cfg-options", "test_dataloader.dataset.ann_file=gone.json"],
            ["annotation file not found", "gone.json"],
        ),
        (
            ["{config}", "{checkpoint}", "--cfg-options", "model.bbox_head.loss_cls.use_sigmoid=False"],
            ["use_sigmoid=True", "bbox_head (RetinaHead) has none"],
        ),
        (
            ["{config}", "{checkpoint}", "--cfg-options", "test_dataloader.dataset.pipeline.1.type=RandomFlip"],
            ["test_dataloader.dataset.pipeline has no LoadAnnotations"],
        ),
        (["{config}", "{checkpoint}", "--cfg-options", "model.neck.out_channels=8"], ["model"]),
    ],
)
def test_bad_input_is_plain(shapes, fails, arguments, expected):
    places = {"config": shapes.config, "checkpoint": shapes.checkpoint}
    fails(TOOL, [argument.format(**places) for argument in arguments], *expected)
