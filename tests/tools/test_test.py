"""tools/test.py, and both tools on real COCO images."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import torch
from tools.running import run_tool, start_tool

TABLE = re.compile(r"Average Precision  \(AP\) @\[ IoU=0\.50:0\.95 \| area=   all \| maxDets=100 \] = (-?\d\.\d{3})")


def test_prints_the_table_and_writes_what_was_asked(shapes, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "predictions.pkl"
    arguments = ["--work-dir", tmp_path / "run", "--out", out, "--show-dir", "drawn"]
    # The dumped config of the run says what a user would test with; resume=True is how a resumed run dumps it.
    config = shapes.run / shapes.config.name
    done = start_tool("test.py", config, shapes.checkpoint, *arguments, "--cfg-options", "resume=True")
    assert done.returncode == 0, done.stderr
    assert TABLE.search(done.stdout)
    assert len(pickle.loads(out.read_bytes())) == 8
    assert len(list((tmp_path / "run").glob("*/drawn/*.png"))) == 8


@pytest.mark.slow
def test_tta_gives_a_table(shapes, tmp_path: Path) -> None:
    options = ["tta_model=None", "tta_pipeline=None"]
    done = run_tool("test.py", shapes.config, shapes.checkpoint, "--tta", "--cfg-options", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert TABLE.search(done.stdout)
    assert "tta: no tta_model" in done.stderr
    assert "tta: no tta_pipeline" in done.stderr


@pytest.mark.slow
def test_real_coco_images_train_and_test(tiny_coco_root: Path, tmp_path: Path) -> None:
    root = f"{tiny_coco_root}/"
    config = tmp_path / "retinanet_coco.py"
    config.write_text(
        '_base_ = "mmdet::ghm/retinanet_r50_fpn_ghm-1x_coco.py"\n'
        f'data = dict(data_root="{root}")\n'
        "train_dataloader = dict(dataset=data, num_workers=1)\n"
        "test_dataloader = dict(dataset=data, num_workers=1)\n"
        f'test_evaluator = dict(ann_file="{root}annotations/instances_val2017.json")\n'
        "val_dataloader = val_evaluator = val_cfg = None\n"
        "model = dict(backbone=dict(depth=18, init_cfg=None), neck=dict(in_channels=[64, 128, 256, 512]),\n"
        "             test_cfg=dict(score_thr=0.001))\n"
        "train_cfg = dict(max_epochs=1)\n"
        "default_hooks = dict(logger=dict(interval=1))\n"
    )
    options = [
        "train_dataloader.dataset.indices=8",
        "train_dataloader.dataset.pipeline.2.scale=(333,200)",
        "test_dataloader.dataset.pipeline.1.scale=(333,200)",
    ]
    trained = run_tool("train.py", config, "--work-dir", tmp_path / "run", "--cfg-options", *options)
    assert trained.returncode == 0, trained.stderr
    losses = [float(value) for value in re.findall(r"loss: ([\d.]+)", trained.stdout)]
    assert len(losses) == 4
    assert all(torch.tensor(losses).isfinite())
    checkpoint = tmp_path / "run" / "epoch_1.pth"
    options.append("test_dataloader.dataset.indices=20")
    tested = run_tool("test.py", config, checkpoint, "--work-dir", tmp_path / "test", "--cfg-options", *options)
    assert tested.returncode == 0, tested.stderr
    assert TABLE.search(tested.stdout)
    assert re.search(r"coco/bbox_mAP: ", tested.stdout)
