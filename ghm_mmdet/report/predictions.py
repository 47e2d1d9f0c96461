"""A run's detections on its test data, kept in its work_dir so that the next report need not compute them again."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.device import get_device
from mmengine.runner import Runner
from torch.utils.data import Subset

from ghm_mmdet.checkpoint.safe_loading import load_weights
from ghm_mmdet.config import build_part
from ghm_mmdet.data_check.model_keys import check_model_keys
from ghm_mmdet.data_check.model_trial import try_model
from ghm_mmdet.data_check.preflight import check_classes
from ghm_mmdet.errors import UserError, print_notice
from ghm_mmdet.report.ground_truth import GroundTruth
from ghm_mmdet.report.work_dir import WorkDir


def cache_file(work_dir: WorkDir, phase: str) -> Path:
    return work_dir.path / "report" / f"{phase}_detections.json"


def predict(
    work_dir: WorkDir,
    phase: str,
    truth: GroundTruth,
    data_set: Any,
    device: str | None,
    track: Callable[[Iterable], Iterable],
) -> list[dict[str, Any]]:
    """Detections as COCO results, image_id and category_id numbered as in the ground truth.

    They are computed again unless the file in the work_dir was made with the same weights, model, test pipeline and
    data.
    """
    key = _key(work_dir, phase, truth)
    file = cache_file(work_dir, phase)
    try:
        kept = json.loads(file.read_text())
        if kept["key"] == key:
            return kept["detections"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    detections = _compute(work_dir, phase, truth, data_set, device, track)
    try:
        file.parent.mkdir(exist_ok=True)
        beside = file.with_suffix(".part")
        beside.write_text(json.dumps({"key": key, "detections": detections}))
        beside.replace(file)
    except OSError as error:
        print_notice(f"the detections are not kept for the next report ({error.strerror}): {file}")
    return detections


def _key(work_dir: WorkDir, phase: str, truth: GroundTruth) -> dict[str, str]:
    cfg = work_dir.cfg
    parts = json.dumps([cfg.model, cfg[f"{phase}_dataloader"].dataset], default=str, sort_keys=True)
    weights = hashlib.sha256(work_dir.checkpoint_path.read_bytes()).hexdigest()
    return {"weights": weights, "config": hashlib.sha256(parts.encode()).hexdigest(), "data": truth.fingerprint}


def _compute(
    work_dir: WorkDir,
    phase: str,
    truth: GroundTruth,
    data_set: Any,
    device: str | None,
    track: Callable[[Iterable], Iterable],
) -> list[dict[str, Any]]:
    model = build_part(MODELS, copy.deepcopy(work_dir.cfg.model), "model")
    check_classes(model, {f"{phase}_dataloader.dataset": truth.classes})
    check_model_keys(work_dir.cfg.model, model)
    load_weights(model, work_dir.checkpoint, str(work_dir.checkpoint_path))
    try_model(model, {phase: data_set[0]}, has_weights=True)
    try:
        model.to(device or get_device()).eval()
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: {str(error).splitlines()[0]}") from error
    loader = copy.deepcopy(work_dir.cfg[f"{phase}_dataloader"])
    loader.pop("batch_sampler", None)
    # The numbers of the images are their places in this order.
    loader.update(dataset=Subset(data_set, range(len(truth.paths))), sampler=dict(type="DefaultSampler", shuffle=False))
    detections, image = [], 0
    for batch in track(Runner.build_dataloader(loader)):
        with torch.no_grad():
            samples = model.test_step(batch)
        for sample in samples:
            found = sample.pred_instances
            for (left, top, right, bottom), score, label in zip(
                found.bboxes.tolist(), found.scores.tolist(), found.labels.tolist()
            ):
                box = [left, top, right - left, bottom - top]
                detections.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
            image += 1
    return detections
