"""Annotations changed at random: a training has the objects that counting by hand gives, or ends in a plain line.

GHM_MUTATIONS sets how many are tried in each format.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tools.running import CLASSES, CONFIG, call_tool
from tools.test_bad_data import VOC, origin  # noqa: F401

from ghm_mmdet.data_check.walk import walk_data

pytestmark = pytest.mark.slow
COUNT = int(os.environ.get("GHM_MUTATIONS", 8))
QUICK = """
train_cfg = dict(max_epochs=1, val_interval=1)
train_dataloader = dict(batch_size=1)
default_hooks = dict(checkpoint=None)
"""
# Only the COCO format's validation data can be mutated together with the training data.
EVALUATE_VOC = """
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
        child.text = generator.choice(
            ["", "0", "1", "-3", "64", "70", "900", "1.5", "nan", "1e999", "no", "disc ", "disc"]
        )
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
        for item in ElementTree.parse(data / "Annotations" / f"{name}.xml").getroot().findall("object"):
            count += item.findtext("name") in CLASSES and not int(item.findtext("difficult") or 0)
    return count


def train(config: Path, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    capsys.readouterr()
    code = 0
    try:
        call_tool("train", [str(config), "--work-dir", str(config.parent / "run")])
    except SystemExit as stop:
        code = stop.code or 0
    out, err = capsys.readouterr()
    return code, out + err


@pytest.mark.parametrize("seed", range(COUNT))
@pytest.mark.parametrize("voc", [False, True])
def test_mutation(voc, seed, origin, tmp_path, capsys):  # noqa: F811
    generator = random.Random(seed)
    data = Path(shutil.copytree(origin, tmp_path / "data"))
    (data.parent / "shapes.py").write_text(CONFIG.format(data=data))
    config = tmp_path / "config.py"
    config.write_text(f'_base_ = "shapes.py"\n{VOC.format(data=data) + EVALUATE_VOC if voc else ""}{QUICK}')
    if voc:
        path = data / "Annotations" / "1.xml"
        path.write_text(mutate_xml(path.read_text(), generator))
        named = r"1\.xml|1\.jpg"
    else:
        path = data / "annotations.json"
        path.write_text(json.dumps(mutate_json(json.loads(path.read_text()), generator)))
        named = r"annotations\.json|images"
    code, output = train(config, capsys)
    assert "Traceback" not in output
    if code:
        message = output[output.index("error: ") :]
        assert code == 2 and len(message.splitlines()) <= 2 and re.search(named, message), output
        return
    assert "bbox_mAP" in output or "pascal_voc/mAP" in output
    cfg = Config.fromfile(config)
    init_default_scope("mmdet")
    (part,) = walk_data(cfg, ("train",)).parts
    assert part.objects.total() == (count_voc(data) if voc else count_coco(json.loads(path.read_text())))
