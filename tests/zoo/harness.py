"""Tries GHM-C in a thin copy of a detector of mmdet: PYTHONPATH=tests:. python tests/zoo/harness.py prints a table.

GHM-C of one unit region with normalize="avg_factor" is cross-entropy, so its gradients must be those of mmdet's own
CrossEntropyLoss in the same place; that, and what the model check finds, is what the table says.
"""

from __future__ import annotations

import copy
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mmdet
import numpy
import torch
from mmdet.models.losses import CrossEntropyLoss
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn
from zoo.families import FAMILIES, Family

from ghm_mmdet.data_check.model_check import check_model
from ghm_mmdet.functional.class_target import soft_target

REPO = Path(__file__).resolve().parents[2]
CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"
SIGMOID = ("FocalLoss", "QualityFocalLoss", "VarifocalLoss", "GaussianFocalLoss", "GHMC")


class WitnessCrossEntropy(CrossEntropyLoss):
    """mmdet's, which also takes pairs of labels and scores, as some heads give them."""

    def forward(self, cls_score, label, weight=None, avg_factor=None, reduction_override=None, **kwargs):
        if isinstance(label, tuple):
            label = soft_target(*label, cls_score)
        if weight is not None and weight.dim() == 1 and weight.numel() == cls_score.numel():
            weight = weight.view_as(cls_score)
        if weight is not None and weight.dim() == 1 and label.dim() > 1:
            weight = weight.unsqueeze(1).expand_as(label)
        return super().forward(cls_score, label, weight, avg_factor, reduction_override, **kwargs)


MODELS.register_module(module=WitnessCrossEntropy, force=True)


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
        if isinstance(node.get("init_cfg"), dict) and node["init_cfg"].get("type") == "Pretrained":
            node["init_cfg"] = None
        if str(node.get("type", "")).endswith("SyncBN"):
            node["type"] = "BN"
        if isinstance(node.get("pretrained"), str):
            node["pretrained"] = None


def thin_config(family: Family) -> dict:
    """The model's config with a thin backbone, short towers and few regions."""
    model = Config.fromfile(CONFIGS / family.config).model
    without_weights(model)
    if isinstance(model.get("teacher_config"), str):
        model.teacher_config = Config.fromfile(CONFIGS / model.teacher_config.replace("configs/", ""))
        without_weights(model.teacher_config.model)
    if "teacher_ckpt" in model:
        model.teacher_ckpt = None
    model.get("data_preprocessor", {}).pop("batch_augments", None)
    backbone, neck = model.get("backbone"), model.get("neck")
    if family.thin and neck and backbone.get("type") in ("ResNet", "DetectoRS_ResNet") and "output_img" not in backbone:
        first = neck[0] if isinstance(neck, (list, tuple)) else neck
        wide = first.get("in_channels")
        if backbone.get("depth") in (50, 101) and wide is not None and numpy.max(wide) >= 1024:
            backbone.base_channels = 8
            first.in_channels = [width // 8 for width in wide] if isinstance(wide, (list, tuple)) else wide // 8
    for node in walk(model):
        if family.thin and isinstance(node.get("stacked_convs"), int):
            node["stacked_convs"] = min(node["stacked_convs"], 1)
        for key, most in (("nms_pre", 100), ("max_per_img", 100), ("num", 64)):
            if model.get("roi_head") and isinstance(node.get(key), int):
                node[key] = min(node[key], most)
    if model.get("num_queries", 0) > 300 or "dino" in family.config or "ddq" in family.config:
        model.num_queries = 30
    return model


def replace_losses(model: dict, family: Family, make) -> int:
    """Puts ``make(loss, use_sigmoid)`` in the place of each classification loss."""
    count = 0
    for node in walk(model):
        for key in family.losses:
            loss = node.get(key)
            if isinstance(loss, dict) and "type" in loss:
                node[key] = make(loss, loss.get("use_sigmoid", loss["type"] in SIGMOID))
                count += 1
    return count


def common(loss: dict, use_sigmoid: bool) -> dict:
    kept = {key: loss[key] for key in ("loss_weight", "reduction") if key in loss}
    return dict(use_sigmoid=use_sigmoid, **kept)


def ghm_c(**options):
    return lambda loss, sigmoid: dict(
        type="ghm_mmdet.GHMC", normalize="avg_factor", **options, **common(loss, sigmoid),
        **({"activated": True} if loss.get("activated") else {}),
    )  # fmt: skip


def cross_entropy(loss: dict, use_sigmoid: bool) -> dict:
    return dict(type="WitnessCrossEntropy", **common(loss, use_sigmoid))


def build(family: Family, make) -> nn.Module:
    init_default_scope("mmdet")
    config = thin_config(family)
    replace_losses(config, family, make)
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    MessageHub.get_current_instance().update_info("epoch", 10)
    for module in model.modules():
        if hasattr(module, "set_epoch"):
            module.set_epoch(10)
    return model.train()


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
    model.zero_grad()
    torch.manual_seed(0)
    numpy.random.seed(0)
    losses = model(**model.data_preprocessor(copy.deepcopy(batch), training=True), mode="loss")
    total = model.parse_losses(losses)[0]
    total.backward()
    assert torch.isfinite(total), losses
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@dataclass
class Outcome:
    """kind: works, note or refused; text: why."""

    kind: str
    text: str = ""

    def __str__(self) -> str:
        words = {"works": "works", "note": "works, with a note: ", "refused": "refused: "}[self.kind]
        return f"{words}{self.text.replace('|', '/')}"


def one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:300]


def try_family(family: Family) -> Outcome:
    """What happens with GHM-C; raises AssertionError where it would be wrong in silence."""
    try:
        model = build(family, ghm_c(bins=30, momentum=0.75))
    except Exception as error:
        return Outcome("refused", one_line(error))
    if not any(type(module).__module__.startswith("ghm_mmdet.losses") for module in model.modules()):
        return Outcome("refused", "its classification loss is not an entry of the config")
    findings = check_model(model, batch_of(family, model, [4, 3]))
    wrong = [finding.text for finding in findings if finding.wrong]
    if wrong:
        return Outcome("refused", wrong[0][:300])
    limit = build(family, ghm_c(bins=1, momentum=0.0, scale_by_weight=True))
    witness = build(family, cross_entropy)
    for objects in ([4, 3], [3, 0]):
        batch = batch_of(family, model, objects)
        assert gradients(model, batch)
        ours, theirs = gradients(limit, batch), gradients(witness, batch)
        assert ours.keys() == theirs.keys()
        scale = max(float(value.abs().max()) for value in theirs.values())
        for name, value in theirs.items():
            most = max(float(value.abs().max()), 1e-4 * scale)
            difference = float((ours[name] - value).abs().max()) / most
            assert difference < 1e-3, f"{name}: gradient differs from cross-entropy's by {difference:.2g}"
    model.eval()
    with torch.no_grad():
        data = model.data_preprocessor(batch_of(family, model, [4, 3]), False)
        model.predict(data["inputs"], data["data_samples"])
    notes = list(dict.fromkeys(finding.text for finding in findings))
    return Outcome("note", " ".join(notes)[:300]) if notes else Outcome("works")


def row(name: str, outcome: Outcome) -> str:
    return f"| {name} | `{FAMILIES[name].config.removesuffix('.py')}` | {outcome} |"


def main(names: list[str]) -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    for name in names or FAMILIES:
        try:
            print(row(name, try_family(FAMILIES[name])), flush=True)
        except Exception as error:
            print(f"| {name} | BROKEN {type(error).__name__}: {one_line(error)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
