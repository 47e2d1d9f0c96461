"""The report's objects against the annotation files themselves."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest
from mmengine.config import Config
from tools.running import CONFIG, REPO, write_shapes

from ghm_mmdet.data_check.preflight import enter_default_scope
from ghm_mmdet.report.ground_truth import GroundTruth, read_ground_truth


@pytest.fixture
def shapes_config(tmp_path: Path) -> Config:
    write_shapes(tmp_path / "data")
    (tmp_path / "shapes.py").write_text(CONFIG.format(data=tmp_path / "data"))
    return Config.fromfile(str(tmp_path / "shapes.py"))


def read(cfg: Config, limit: int | None = None) -> GroundTruth:
    enter_default_scope(cfg)
    return read_ground_truth(cfg, "test", limit)[0]


def test_coco_file_with_other_order_of_classes_crowds_and_specks(shapes_config: Config, tmp_path: Path) -> None:
    """As mmdet's CocoMetric: labels in the file's order, and also the boxes that the data set leaves out."""
    file = tmp_path / "data" / "annotations.json"
    content = json.loads(file.read_text())
    content["categories"] = [{"id": 7, "name": "bar"}, {"id": 3, "name": "other"}, {"id": 5, "name": "disc"}]
    content["annotations"] = [
        {"id": 0, "image_id": 2, "category_id": 5, "bbox": [1, 2, 30, 4], "area": 100, "iscrowd": 0},
        {"id": 1, "image_id": 2, "category_id": 3, "bbox": [1, 2, 30, 4], "area": 100, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 7, "bbox": [5, 5, 0.5, 0.5], "area": 0.25, "iscrowd": 0},
        {"id": 3, "image_id": 1, "category_id": 7, "bbox": [5, 5, 9, 9], "area": 81, "iscrowd": 1},
    ]
    file.write_text(json.dumps(content))
    shapes_config.test_dataloader.dataset.metainfo.classes = ("disc", "square", "bar")
    truth = read(shapes_config)
    assert truth.classes == ("bar", "disc")
    assert [Path(path).name for path in truth.paths] == [f"{number}.png" for number in range(8)]
    shown = [(e["image_id"], e["category_id"], e["bbox"], e["area"], e["iscrowd"]) for e in truth.annotations]
    assert sorted(shown) == [
        (0, 0, [5, 5, 0.5, 0.5], 0.25, 0),
        (0, 0, [5, 5, 9, 9], 81, 1),
        (1, 1, [1, 2, 30, 4], 100, 0),
    ]
    assert sorted(entry["id"] for entry in truth.annotations) == [1, 2, 3]
    assert {entry["image_id"] for entry in read(shapes_config, limit=1).annotations} == {0}


def test_same_data_elsewhere_has_the_same_fingerprint(shapes_config: Config, tmp_path: Path) -> None:
    truth = read(shapes_config)
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = Config.fromstring(shapes_config.pretty_text.replace(f"{tmp_path}/data", f"{tmp_path}/moved"), ".py")
    assert read(moved).fingerprint == truth.fingerprint
    assert read(moved, limit=7).fingerprint != truth.fingerprint
    truth.annotations[0]["bbox"][0] += 1
    assert read(moved).fingerprint != truth.fingerprint


def test_voc_data_without_a_coco_file(bccd_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOC_ROOT", str(bccd_root))
    monkeypatch.setenv("VOC_2007", ".")
    monkeypatch.setenv("VOC_CLASSES", "RBC,WBC,Platelets")
    truth = read(Config.fromfile(str(REPO / "configs" / "pascal_voc" / "retinanet_r50_fpn_ghm-1x_voc0712.py")))
    names = (bccd_root / "ImageSets" / "Main" / "test.txt").read_text().split()
    expected: Counter = Counter()
    for name in names:
        for item in ElementTree.parse(bccd_root / "Annotations" / f"{name}.xml").getroot().iter("object"):
            expected[item.find("name").text, item.find("difficult").text == "1"] += 1
    assert [Path(path).stem for path in truth.paths] == names
    assert sum(expected.values()) > 500
    assert expected == Counter((truth.classes[e["category_id"]], bool(e["iscrowd"])) for e in truth.annotations)
    assert all(entry["area"] == entry["bbox"][2] * entry["bbox"][3] for entry in truth.annotations)
