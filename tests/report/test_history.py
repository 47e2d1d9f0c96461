"""What the report reads of a training's log."""

from __future__ import annotations

import json
from pathlib import Path

from ghm_mmdet.report.history import read_history


def write(folder: Path, *entries: dict | str) -> None:
    (folder / "vis_data").mkdir(parents=True)
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    (folder / "vis_data" / "scalars.json").write_text("\n".join(lines))


def train(step: int, loss: float) -> dict:
    return {"lr": 0.1, "loss_cls": loss / 2, "loss": loss, "epoch": (step + 1) // 2, "iter": step, "step": step}


def test_resumed_training_continues_the_series(tmp_path: Path) -> None:
    write(
        tmp_path / "20260101_000000",
        *(train(step, 10.0 - step) for step in (1, 2, 3, 4)),
        {"coco/bbox_mAP": 0.1, "time": 1.0, "step": 1},
        {"coco/bbox_mAP": 0.2, "time": 1.0, "step": 2},
        '{"loss": 3.0, "st',
    )
    write(tmp_path / "20260101_000001", train(3, 70.0), train(4, 60.0), {"coco/bbox_mAP": 0.7, "step": 2})
    # A test logs metrics only, and is no validation.
    write(tmp_path / "20260101_000002", {"coco/bbox_mAP": 0.9, "step": 0})
    history = read_history(tmp_path)
    assert list(history.losses) == ["loss", "loss_cls"]
    assert history.losses["loss"] == [(1, 9.0), (2, 8.0), (3, 70.0), (4, 60.0)]
    assert history.metrics == {"coco/bbox_mAP": [(1, 0.1), (2, 0.7)]}


def test_training_started_anew_replaces_the_old_one(tmp_path: Path) -> None:
    write(tmp_path / "a", train(50, 3.0), train(100, 2.0), {"coco/bbox_mAP": 0.1, "step": 50})
    write(tmp_path / "b", train(50, 30.0))
    history = read_history(tmp_path)
    assert history.losses["loss"] == [(50, 30.0)]
    assert history.metrics == {"coco/bbox_mAP": []}


def test_no_log(tmp_path: Path) -> None:
    history = read_history(tmp_path)
    assert (history.losses, history.metrics) == ({}, {})
