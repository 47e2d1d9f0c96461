"""The mixed precision config's bounds against real data, and a training in bfloat16 beside one in float32."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from tools.running import CONFIG, REPO, write_shapes

from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints
from ghm_mmdet.cli.amp import set_amp_optim_wrapper
from ghm_mmdet.functional import harmonizing_weight, unit_region


@pytest.fixture
def amp_config(tiny_coco_root: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("COCO_ROOT", str(tiny_coco_root))
    cfg = Config.fromfile(REPO / "configs" / "ghm" / "retinanet_r50_fpn_ghm-amp-1x_coco.py")
    cfg.model.backbone.update(depth=18, init_cfg=None)
    cfg.model.neck.in_channels = [64, 128, 256, 512]
    init_default_scope("mmdet")
    return cfg


def test_the_bounds_leave_the_start_of_a_healthy_run_alone(amp_config: Config) -> None:
    """Before the first step every logit is that of the prior 0.01: positives are in one region, the rest in another.

    The largest weights that one batch's density gives stay below the bounds, and the first step of the moving average,
    1 / (1 - momentum) times as large, does not.
    """
    model = MODELS.build(amp_config.model)
    head, losses = model.bbox_head, amp_config.model.bbox_head
    data_set = DATASETS.build(amp_config.train_dataloader.dataset)
    region = unit_region(torch.tensor([0.01, 0.99]), losses.loss_cls.bins).long()
    largest = {"cls": 0.0, "bbox": 0.0}
    for first in range(0, 8, 2):
        batch = model.data_preprocessor(pseudo_collate([data_set[first], data_set[first + 1]]), training=True)
        samples, (height, width) = batch["data_samples"], batch["inputs"].shape[-2:]
        sizes = [(-(-height // stride), -(-width // stride)) for stride in (8, 16, 32, 64, 128)]
        metas = [sample.metainfo for sample in samples]
        anchors, valid = head.get_anchors(sizes, metas, device="cpu")
        labels, weights, *_ = head.get_targets(anchors, valid, [sample.gt_instances for sample in samples], metas)
        for label, weight in zip(labels, weights):
            positives = int(((label >= 0) & (label < 80)).sum())
            if not positives:
                continue
            total = int((weight > 0).sum()) * 80
            count = torch.zeros(losses.loss_cls.bins)
            count[region] = torch.tensor([total - positives, positives], dtype=torch.float32)
            largest["cls"] = max(largest["cls"], harmonizing_weight(count, torch.tensor(float(total))).max().item())
            # One coordinate alone in its region, all others in another one.
            count = torch.tensor([4 * positives - 1.0, 1.0])
            largest["bbox"] = max(largest["bbox"], harmonizing_weight(count, count.sum()).max().item())
    for name, weight in largest.items():
        loss = losses[f"loss_{name}"]
        assert weight <= loss.max_weight < weight / (1 - loss.momentum)


def losses_of_a_training(folder: Path, data: Path, *, amp: bool) -> numpy.ndarray:
    folder.mkdir()
    (folder / "shapes.py").write_text(CONFIG.format(data=data))
    cfg = Config.fromfile(folder / "shapes.py")
    cfg.work_dir = str(folder / "run")
    cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=10)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.custom_hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=1)]
    set_amp_optim_wrapper(cfg, amp=amp)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
    values, _ = runner.message_hub.get_scalar("train/loss").data
    return values.reshape(10, -1).mean(1)


@pytest.mark.slow
def test_a_bfloat16_training_learns_as_one_in_float32(tmp_path: Path) -> None:
    allow_mmengine_checkpoints()
    write_shapes(tmp_path / "data")
    mixed, plain = (losses_of_a_training(tmp_path / str(amp), tmp_path / "data", amp=amp) for amp in (True, False))
    assert mixed[0] == pytest.approx(plain[0], rel=0.05)
    # Rounding makes the two part ways after that; both end far below the start.
    for losses in (mixed, plain):
        assert losses[-3:].mean() < losses[0] / 3
    assert not numpy.array_equal(mixed, plain)
