"""Tries GHM-C and GHM-R in thin copies of mmdet's detectors: python tests/zoo/harness.py [--write] [FAMILY ...].

The limit of both is a loss of mmdet's: GHM-C of one unit region, normalized, is cross-entropy, and GHM-R with a mu near
0 is L1; cross-entropy above a threshold of 0 is cross-entropy as well. So the gradients of the limit must be those of
mmdet's own loss in the same place: this, and what `ghm-mmdet check` finds in a step, is what the table in
docs/detectors.md says.
"""

from __future__ import annotations

import argparse
import copy
import functools
import logging
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mmdet
import numpy
import torch
from mmdet.models.losses import CrossEntropyLoss, L1Loss
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO), str(REPO / "tests")]

from zoo.families import FAMILIES, Family  # noqa: E402

from ghm_mmdet.config import build_part  # noqa: E402
from ghm_mmdet.data_check.model_check import check_model  # noqa: E402
from ghm_mmdet.errors import UserError  # noqa: E402
from ghm_mmdet.functional.class_target import dense_target, soft_target  # noqa: E402
from ghm_mmdet.losses import GHMC, GHMR, ThresholdCrossEntropyLoss  # noqa: E402

CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"
PAGE = REPO / "docs" / "detectors.md"
BEGIN, END = "<!-- families -->\n", "<!-- end of families -->"
SIGMOID = ("FocalLoss", "QualityFocalLoss", "VarifocalLoss", "GaussianFocalLoss", "GHMC")
# Losses of differences; the others of mmdet are losses of overlaps.
DIFFERENCE = ("L1Loss", "SmoothL1Loss", "BalancedL1Loss", "GHMR")
KINDS = ("GHM-C", "GHM-R")


class WitnessCrossEntropy(CrossEntropyLoss):
    """mmdet's, which also takes what some heads give: labels and scores, weights of all elements, probabilities."""

    activated = False

    def forward(self, cls_score, label, weight=None, avg_factor=None, reduction_override=None, **kwargs):
        if self.activated:
            cls_score = cls_score.clamp(1e-6, 1 - 1e-6)
            cls_score = cls_score.log() - (1 - cls_score).log()
        if self.use_sigmoid:
            label = soft_target(*label, cls_score) if isinstance(label, tuple) else dense_target(label, cls_score)
            if weight is not None:
                whole = weight.numel() == cls_score.numel()
                weight = weight.view_as(cls_score) if whole else weight.view(*cls_score.shape[:-1], 1)
                weight = weight.expand_as(cls_score)
        return super().forward(cls_score, label, weight, avg_factor, reduction_override, **kwargs)


def walk(node) -> Iterator[dict]:
    """Every dict in a config, a teacher's left out."""
    if isinstance(node, dict):
        yield node
        for key, value in node.items():
            if key != "teacher_config":
                yield from walk(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from walk(value)


def without_weights(model) -> None:
    for node in walk(model):
        if isinstance(node.get("init_cfg"), dict) and "checkpoint" in node["init_cfg"]:
            node["init_cfg"] = None
        if str(node.get("type", "")).endswith("SyncBN"):
            node["type"] = "BN"
        if isinstance(node.get("pretrained"), str):
            node["pretrained"] = None


@functools.cache
def read_model(path: Path) -> dict:
    return Config.fromfile(path).model


def thin_config(family: Family) -> dict:
    """The model's config with a thin backbone, short towers and few regions."""
    model = copy.deepcopy(read_model(CONFIGS / family.config))
    without_weights(model)
    if isinstance(model.get("teacher_config"), str):
        model.teacher_config = Config.fromfile(CONFIGS / model.teacher_config.replace("configs/", ""))
        without_weights(model.teacher_config.model)
    if "teacher_ckpt" in model:
        model.teacher_ckpt = None
    model.get("data_preprocessor", {}).pop("batch_augments", None)
    backbone, neck = model.get("backbone"), model.get("neck")
    if family.thin and neck and backbone.get("type") == "ResNet":
        first = neck[0] if isinstance(neck, (list, tuple)) else neck
        wide = first.get("in_channels")
        if backbone.get("depth") in (50, 101) and wide is not None and numpy.max(wide) >= 1024:
            backbone.update(depth=18, base_channels=8)
            first.in_channels = [width // 32 for width in wide] if isinstance(wide, (list, tuple)) else wide // 32
    for node in walk(model):
        if family.thin and isinstance(node.get("stacked_convs"), int):
            node["stacked_convs"] = min(node["stacked_convs"], 1)
        if node.get("type") == "DDODHead":
            # Its deformable convolution needs 3 x 3 places on the coarsest level.
            node["use_dcn"] = False
        if isinstance(node.get("fc_out_channels"), int):
            node["fc_out_channels"] = 64
        for key, most in (("nms_pre", 32), ("max_per_img", 32), ("num", 8), ("num_proposals", 32)):
            if model.get("roi_head") and isinstance(node.get(key), int):
                node[key] = min(node[key], most)
    if model.get("num_queries", 0) >= 300:
        model.num_queries = 30
    return model


def replaceable(model: dict, family: Family) -> Iterator[tuple[str, dict, str, dict]]:
    """The losses of a config that GHM may take the place of: its kind, the entry that holds it, its key, itself."""
    for node in walk(model):
        for key, loss in node.items():
            if not isinstance(loss, dict) or "type" not in loss:
                continue
            if key in family.losses:
                yield "GHM-C", node, key, loss
            elif key == "loss_bbox" and loss["type"] in DIFFERENCE:
                yield "GHM-R", node, key, loss


def ghm_of(kind: str, loss: dict) -> dict:
    kept = {key: loss[key] for key in ("loss_weight", "reduction") if key in loss}
    if kind == "GHM-R":
        return dict(type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, normalize="avg_factor", **kept)
    if loss.get("activated") or loss["type"] == "GaussianFocalLoss":
        # Heads give these probabilities.
        kept["activated"] = True
    use_sigmoid = loss.get("use_sigmoid", loss["type"] in SIGMOID)
    return dict(type="ghm_mmdet.GHMC", use_sigmoid=use_sigmoid, normalize="positives", max_weight=10.0, **kept)


def build(config: dict) -> nn.Module:
    torch.manual_seed(0)
    model = build_part(MODELS, config, "model")
    model.init_weights()
    for module in model.modules():
        if hasattr(module, "set_epoch"):
            module.set_epoch(10)
    # A distillation's train() returns None.
    model.train()
    return model


def limits(
    model: nn.Module, cross_entropy: type = WitnessCrossEntropy, normalize: str = "positives"
) -> tuple[nn.Module, nn.Module]:
    """The model with the losses' limit, and the one with mmdet's losses for it."""
    ours, theirs = copy.deepcopy(model), copy.deepcopy(model)
    for name, loss in model.named_modules():
        if not isinstance(loss, (GHMC, GHMR)):
            continue
        kept = dict(reduction=loss.reduction, loss_weight=loss.loss_weight)
        common = dict(bins=1, momentum=0, scale_by_weight=True, **kept)
        if isinstance(loss, GHMC):
            limit = GHMC(use_sigmoid=loss.use_sigmoid, activated=loss.activated, normalize=normalize, **common)
            # Heads of regions ask it how many logits it wants when they are built.
            limit._of_regions = loss._of_regions
            witness = cross_entropy(use_sigmoid=loss.use_sigmoid, **kept)
            witness.activated = loss.activated
        else:
            limit, witness = GHMR(mu=1e-6, normalize="avg_factor", **common), L1Loss(**kept)
        parent, _, last = name.rpartition(".")
        setattr(ours.get_submodule(parent), last, limit)
        setattr(theirs.get_submodule(parent), last, witness)
    return ours, theirs


def threshold_limit(model: nn.Module, theirs: nn.Module) -> nn.Module:
    """mmdet's losses for the limit, with cross-entropy above a threshold of 0 in place of each cross-entropy."""
    ours = copy.deepcopy(theirs)
    for name, loss in model.named_modules():
        if isinstance(loss, GHMC) and loss.use_sigmoid:
            limit = ThresholdCrossEntropyLoss(
                threshold=0.0, activated=loss.activated, reduction=loss.reduction, loss_weight=loss.loss_weight
            )
            limit._of_regions = loss._of_regions
            parent, _, last = name.rpartition(".")
            setattr(ours.get_submodule(parent), last, limit)
    return ours


def batch_of(family: Family, model: nn.Module, objects: list[int]) -> dict:
    size = family.size
    torch.manual_seed(0)
    numpy.random.seed(0)
    batch = demo_mm_inputs(
        2, [[3, size, size]] * 2, num_items=objects, num_classes=10, with_mask=family.mask,
        with_semantic=bool(family.stuff), sem_seg_output_strides=family.stuff or 1,
    )  # fmt: skip
    counts = [module.num_classes for module in model.modules() if isinstance(getattr(module, "num_classes", None), int)]
    classes = min((count for count in counts if count > 1), default=1)
    if any(count == 1 for count in counts) and not any("rpn" in name for name, _ in model.named_modules()):
        classes = 1
    for sample in batch["data_samples"]:
        sample.gt_instances.labels = sample.gt_instances.labels % classes
        sample.set_metainfo(dict(batch_input_shape=(size, size), pad_shape=(size, size)))
        if family.proposals:
            boxes = torch.rand(50, 4) * size / 2
            boxes[:, 2:] += boxes[:, :2] + 4
            sample.proposals = InstanceData(bboxes=boxes.clamp(max=size))
    return batch


def gradients(model: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    numpy.random.seed(0)
    losses = model(**model.data_preprocessor(copy.deepcopy(batch), training=True), mode="loss")
    total = model.parse_losses(losses)[0]
    total.backward()
    assert torch.isfinite(total), losses
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


class Refused(Exception):
    """By an error, or by `ghm-mmdet check`."""


@dataclass
class Outcome:
    """kind: works, note, refused, or none where there is nothing to replace; text: why."""

    kind: str
    text: str = ""

    def __str__(self) -> str:
        words = {"works": "works", "note": "works, with a note: ", "refused": "refused: ", "none": ""}[self.kind]
        return f"{words}{self.text.replace('|', '/')}"


def try_family(family: Family) -> dict[str, Outcome]:
    """What happens with GHM-C and with GHM-R; raises AssertionError where one would be wrong in silence."""
    init_default_scope("mmdet")
    MessageHub.get_current_instance().update_info("epoch", 10)
    there = {"GHM-C"} | {kind for kind, *_ in replaceable(thin_config(family), family)}
    outcomes = {kind: Outcome("none") for kind in KINDS}
    try:
        return outcomes | _try(family, there)
    except Refused as refusal:
        if len(there) == 1:
            return outcomes | {kind: Outcome("refused", str(refusal)) for kind in there}
    for kind in there:
        try:
            outcomes |= _try(family, {kind})
        except Refused as refusal:
            outcomes[kind] = Outcome("refused", str(refusal))
    return outcomes


def _try(family: Family, kinds: set[str]) -> dict[str, Outcome]:
    config = thin_config(family)
    for kind, node, key, loss in list(replaceable(config, family)):
        if kind in kinds:
            node[key] = ghm_of(kind, loss)
    if "GHM-C" in kinds and "GHMC" not in str(config):
        config.bbox_head.loss_cls = ghm_of("GHM-C", dict(type="FocalLoss"))
    try:
        model = build(config)
    except UserError as error:
        raise Refused(" ".join(str(error).split()).removeprefix("model: ")) from error
    findings = check_model(model, batch_of(family, model, [4, 3]))
    for finding in findings:
        if finding.wrong:
            raise Refused(finding.text)
    harmonized, plain = limits(model)
    above = threshold_limit(model, plain)
    theirs = gradients(plain, batch_of(family, model, [3, 0]))
    scale = max(float(value.abs().max()) for value in theirs.values())
    for limit in (harmonized, above):
        ours = gradients(limit, batch_of(family, model, [3, 0]))
        assert ours and ours.keys() == theirs.keys()
        for name, value in theirs.items():
            most = max(float(value.abs().max()), 1e-4 * scale)
            difference = float((ours[name] - value).abs().max()) / most
            assert difference < 1e-3, f"{name}: the limit's gradient differs from mmdet's by {difference:.2g}"
    if family.empty:
        gradients(model, batch_of(family, model, [0, 0]))
    if family.predicts:
        model.eval()
        with torch.no_grad():
            data = model.data_preprocessor(batch_of(family, model, [4, 3]), False)
            model.predict(data["inputs"], data["data_samples"])
    activated = any(isinstance(module, GHMC) and module.activated for module in model.modules())
    return {kind: _outcome(kind, findings, activated) for kind in kinds}


def _outcome(kind: str, findings: list, activated: bool) -> Outcome:
    notes = ["with activated=True."] if activated and kind == "GHM-C" else []
    found = {}
    for finding in findings:
        if ("loss_bbox" in finding.loss) == (kind == "GHM-R"):
            # Stages and levels say the same.
            found.setdefault(finding.text, f"{finding.loss} {finding.text}")
    notes += found.values()
    return Outcome("note", " ".join(notes)) if notes else Outcome("works")


def one_line(error: Exception) -> str:
    # An assertion without words is its line.
    text = " ".join(str(error).split()) or traceback.extract_tb(error.__traceback__)[-1].line
    return f"{type(error).__name__}: {text}"[:300]


def row(name: str, outcomes: dict[str, Outcome]) -> str:
    cells = " | ".join(str(outcomes[kind]) for kind in KINDS)
    return f"| {name} | `{FAMILIES[name].config.removesuffix('.py')}` | {cells} |"


def quiet() -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=list(FAMILIES), metavar="FAMILY")
    parser.add_argument("--write", action="store_true", help=f"write the rows into {PAGE.relative_to(REPO)}")
    args = parser.parse_args()
    quiet()
    torch.set_num_threads(1)
    rows = {}
    for name in args.families:
        start = time.process_time()
        try:
            rows[name] = row(name, try_family(FAMILIES[name]))
            print(rows[name], file=sys.stderr)
        except Exception as error:
            print(f"| {name} | BROKEN: {one_line(error)}", file=sys.stderr)
        print(f"  {time.process_time() - start:.1f} s", file=sys.stderr, flush=True)
    if args.write:
        write_rows(rows)


def listed_rows() -> dict[str, str]:
    """The rows of the table in the docs, by the name of the family."""
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    return {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")}


def write_rows(rows: dict[str, str]) -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    listed = listed_rows()
    rows = listed | rows
    lines = ["", listed["family"], "| --- " * 4 + "|", *(rows[name] for name in FAMILIES if name in rows), "", ""]
    PAGE.write_text(before + BEGIN + "\n".join(lines) + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
