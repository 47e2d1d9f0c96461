"""The data of configs/pascal_voc with data of other people: class names from the environment, objects of all sizes."""

from __future__ import annotations

import pytest
from conftest import REPO
from mmengine.config import Config


@pytest.mark.parametrize("text", ["a, b", " a ,b ", "a,b,", "a,,b"])
def test_class_names_are_stripped(text, monkeypatch):
    monkeypatch.setenv("VOC_CLASSES", text)
    cfg = Config.fromfile(REPO / "configs/_base_/datasets/voc0712.py")
    parts = [*cfg.train_dataloader.dataset.dataset.datasets, cfg.val_dataloader.dataset, cfg.test_dataloader.dataset]
    assert [part.metainfo.classes for part in parts] == [("a", "b")] * len(parts)


def test_small_objects_are_trained_on():
    cfg = Config.fromfile(REPO / "configs/_base_/datasets/voc0712.py")
    for part in cfg.train_dataloader.dataset.dataset.datasets:
        assert part.filter_cfg == dict(filter_empty_gt=True, min_size=32)
