"""Annotations changed at random: a training has the objects that counting by hand gives, or ends in a plain line.

GHM_MUTATIONS sets how many of each format the command train is tried with.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from tools.running import CLASSES, CONFIG, call_tool
from tools.test_bad_data import VOC, origin  # noqa: F401

from ghm_mmdet.data_check.preflight import check_data
from ghm_mmdet.data_check.walk import walk_data
from ghm_mmdet.errors import UserError
from ghm_mmdet.hooks.ground_truth_ids_hook import number_ground_truth

pytestmark = pytest.mark.slow
MANY, TRAINED = 100, int(os.environ.get("GHM_MUTATIONS", 4))
QUICK = """
train_cfg = dict(max_epochs=1, val_interval=1)
default_hooks = dict(checkpoint=None)
"""
# Only the COCO format's validation data can be mutated together with the training data.
ONE_BY_ONE = "train_dataloader = dict(batch_size=1)"
EVALUATE_VOC = """
train_dataloader = dict(batch_size=1, dataset=voc)
val_dataloader = dict(dataset=dict(voc, test_mode=True))
val_evaluator = dict(_delete_=True, type="VOCMetric")
"""
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 7, 0.5, 1e30, 10**400, float("nan"), float("inf")),
    *("", "0", "text", "\ud800\n\x1b", [], [0, 0], [1, 1, 9, 9], [9, 9, -5, 5], ["1", 2, 3, 4], {}, [[]]),
]

TEXTS = ["", "0", "1", "-3", "64", "70", "900", "1.5", "nan", "1e999", "no", "disc ", "disc"]


def mutate_json(value: Any, generator: random.Random) -> Any:
    """Changes one place of a nested value: another value, away, or twice."""
    places = [(value, key) for key in value]
    for holder, key in places:
        inner = holder[key]
        keys = inner if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ()
        places += [(inner, key) for key in keys]
    holder, key = generator.choice(places)
    how = generator.randrange(4)
    if how == 0 and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    elif how == 1:
        del holder[key]
    elif how == 2 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        holder[key] += generator.choice([-70, -3, -0.5, 0.5, 3, 70])
    else:
        holder[key] = generator.choice(JUNK)
    return value


def mutate_xml(text: str, generator: random.Random) -> str:
    root = ElementTree.fromstring(text)
    parents = [parent for parent in root.iter() if len(parent)]
    parent = generator.choice(parents)
    child = generator.choice(list(parent))
    how = generator.randrange(5)
    if how == 0:
        parent.remove(child)
    elif how == 1:
        parent.append(copy.deepcopy(child))
    elif how == 2:
        child.tag = generator.choice(["name", "bndbox", "xmin", "object", "x"])
    else:
        child.text = generator.choice(TEXTS)
    mutated = ElementTree.tostring(root, encoding="unicode")
    return mutated[: generator.randrange(len(mutated))] if generator.random() < 0.1 else mutated


def count_coco(content: dict) -> int:
    """Objects to learn from, by mmdet's rules, counted naively."""
    images = {image["id"]: image for image in content["images"]}
    names = {category["id"]: category["name"] for category in content["categories"]}
    count = 0
    for entry in content.get("annotations", []):
        image = images.get(entry["image_id"])
        if image is None or entry.get("ignore") or entry.get("iscrowd") or names[entry["category_id"]] not in CLASSES:
            continue
        x, y, w, h = entry["bbox"]
        inside = min(x + w, image["width"]) > max(x, 0) and min(y + h, image["height"]) > max(y, 0)
        large = min(image["width"], image["height"]) >= 32
        count += inside and large and w >= 1 and h >= 1 and entry["area"] > 0
    return count


def count_voc(data: Path) -> int:
    count = 0
    for name in (data / "list.txt").read_text().splitlines():
        root = ElementTree.parse(data / "Annotations" / f"{name}.xml").getroot()
        # mmdet leaves out an image of negative size.
        sides = [int(side.text or 0) for side in root.findall("size/*")]
        for item in root.findall("object") if min(sides, default=0) >= 0 else ():
            count += item.findtext("name") in CLASSES and not int(item.findtext("difficult") or 0)
    return count


def evaluated_coco(content: dict) -> list[tuple[Any, int, list[float]]] | None:
    """(image id, label, box) of what is evaluated; None where a detection of it would not have an IoU of 1 with it."""
    names = [category["name"] for category in content["categories"] if category["name"] in CLASSES]
    of_id = {category["id"]: category["name"] for category in content["categories"]}
    images = {image["id"] for image in content["images"]}
    found = []
    for entry in content.get("annotations", []):
        x, y, w, h = entry["bbox"]
        name = of_id[entry["category_id"]]
        if entry["image_id"] not in images or name not in CLASSES:
            continue
        if min(w, h) <= 0 or max(map(abs, entry["bbox"])) > 1e6 or entry.get("iscrowd"):
            return None
        found.append((entry["image_id"], names.index(name), [x, y, x + w, y + h]))
    return found


class Mutant:
    """The shapes with one change at random, and what it is right to say of it."""

    def __init__(self, source: Path, folder: Path, voc: bool, seed: int):
        generator = random.Random(seed)
        self.voc, self.data = voc, Path(shutil.copytree(source, folder / "data", dirs_exist_ok=True))
        if voc:
            self.path, self.named = self.data / "Annotations" / "1.xml", r"1\.xml|1\.jpg"
            self.path.write_text(mutate_xml(self.path.read_text(), generator))
        else:
            self.path, self.named = self.data / "annotations.json", r"annotations\.json|images"
            self.path.write_text(json.dumps(mutate_json(json.loads(self.path.read_text()), generator)))

    def config(self) -> Path:
        (self.data.parent / "shapes.py").write_text(CONFIG.format(data=self.data))
        path = self.data.parent / "config.py"
        own = VOC.format(data=self.data) + EVALUATE_VOC if self.voc else ONE_BY_ONE
        path.write_text(f'_base_ = "shapes.py"\n{own}{QUICK}')
        return path

    def content(self) -> dict:
        return json.loads(self.path.read_text())

    def objects(self) -> int:
        return count_voc(self.data) if self.voc else count_coco(self.content())

    def assert_message(self, message: str) -> None:
        assert len(message.splitlines()) <= 2 and re.search(self.named, message), message


def step_and_evaluate(cfg: Config, model: Any, mutant: Mutant) -> None:
    """Every batch through the model, and the evaluation of detections that are the objects: its AP is 1."""
    for batch in Runner.build_dataloader(cfg.train_dataloader, seed=0):
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
        assert all(
            bool(torch.isfinite(torch.as_tensor(value)).all()) for value in losses.values() for value in [*value]
        )
    data_set = DATASETS.build(cfg.val_dataloader.dataset)
    evaluator = Evaluator(cfg.val_evaluator)
    evaluator.dataset_meta = data_set.metainfo
    number_ground_truth(evaluator)
    truth = None if mutant.voc else evaluated_coco(mutant.content())
    for index in range(len(data_set)):
        sample = data_set[index]["data_samples"]
        if mutant.voc and not sample.img_path.endswith("1.jpg"):
            # For more than one image mmdet starts processes.
            continue
        found = truth and [(label, box) for image, label, box in truth if image == sample.img_id]
        boxes = torch.tensor([box for _, box in found or []] or [[0.0, 0, 9, 9]])
        labels = torch.tensor([label for label, _ in found or []] or [0])
        scores = torch.full((len(labels),), 0.9 if found else 0.1)
        sample.pred_instances = InstanceData(bboxes=boxes, labels=labels, scores=scores)
        evaluator.process([sample], None)
    with contextlib.redirect_stdout(io.StringIO()):
        metrics = evaluator.evaluate(1 if mutant.voc else len(data_set))
    ((name, value),) = [(name, value) for name, value in metrics.items() if name.endswith("mAP")]
    assert value == pytest.approx(1, abs=1e-3) if truth else -1 <= value <= 1, (name, value)


@pytest.mark.parametrize("voc", [False, True])
def test_many_mutations(voc, origin, tmp_path):  # noqa: F811
    """Each is refused, with its place, or its objects are those counted here, its losses finite and its AP right."""
    failed, refused = {}, 0
    cfg = Config.fromfile(Mutant(origin, tmp_path, voc, 0).config())
    cfg.train_dataloader.num_workers = cfg.val_dataloader.num_workers = 0
    init_default_scope("mmdet")
    model = MODELS.build(cfg.model).train()
    MMLogger.get_current_instance().setLevel("ERROR")
    for seed in range(MANY):
        mutant = Mutant(origin, tmp_path, voc, seed)
        try:
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    check_data(copy.deepcopy(cfg), ("train", "val"))
            except UserError as error:
                refused += 1
                mutant.assert_message(str(error))
                continue
            (part,) = [part for part in walk_data(cfg, ("train", "val")).parts if "train" in part.phases]
            assert part.objects.total() == mutant.objects()
            step_and_evaluate(copy.deepcopy(cfg), model, mutant)
        except Exception as error:
            failed[seed] = f"{type(error).__name__}: {error}"[:500]
    assert not failed
    assert MANY // 5 < refused < MANY * 4 // 5


def train(config: Path, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    capsys.readouterr()
    code = 0
    try:
        call_tool("train", [str(config), "--work-dir", str(config.parent / "run")])
    except SystemExit as stop:
        code = stop.code or 0
    out, err = capsys.readouterr()
    return code, out + err


@pytest.mark.parametrize("seed", range(TRAINED))
@pytest.mark.parametrize("voc", [False, True])
def test_mutation_trained_on(voc, seed, origin, tmp_path, capsys):  # noqa: F811
    mutant = Mutant(origin, tmp_path, voc, MANY + seed)
    code, output = train(mutant.config(), capsys)
    assert "Traceback" not in output
    if code:
        assert code == 2, output
        mutant.assert_message(output[output.index("error: ") :])
    else:
        assert "bbox_mAP" in output or "pascal_voc/mAP" in output
