"""A training step and a prediction on a corner of an image, since much of a config is used only then."""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Iterator
from typing import Any

import numpy
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub, MMLogger
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from ghm_mmdet.coco import quiet
from ghm_mmdet.errors import UserError, in_words
from ghm_mmdet.prior import copy_to_step, random_state_of_its_own

# Pixels; a step takes a tenth of a second.
SIDE = 128
# Of what the machine lacks, and the training may have elsewhere.
OF_THE_DEVICE = re.compile(r"cuda|gpu|compiled|implement|memory", re.IGNORECASE)
MOST_DETECTIONS = 4


def try_model(model: nn.Module, samples: dict[str, Any], has_weights: bool = False) -> None:
    """Trains on a sample and predicts another, as the run will do later, in the validation after an epoch only.

    Args:
        model: the detector, as built from its config; it stays as it is.
        samples: what the data sets give, by phase, "train", "val" or "test".
        has_weights: whether a checkpoint has been loaded into it; else it gets its first weights, but no pretrained.

    Raises:
        UserError: the model cannot do it; the message names the part of the model.
    """
    if not samples:
        return
    model = copy_to_step(model)
    hub = MessageHub.get_current_instance()
    # BoxInst's head wants to know it.
    hub.update_info("iter", hub.get_info("iter", 0))
    _detect_whatever_the_score(model)
    with random_state_of_its_own(0), quiet():
        if not has_weights:
            _init_weights(model)
        for phase, sample in samples.items():
            for batch, whole in _batches(sample, training=phase == "train"):
                try:
                    _step(model, batch, training=phase == "train")
                    break
                except UserError:
                    raise
                except Exception as error:
                    # Whatever it raises, the run would raise it too, unless a corner is too small for the model.
                    made_up = isinstance(error, KeyError) and not sample["data_samples"].img_path
                    if whole and not made_up and not OF_THE_DEVICE.search(f"{type(error).__name__} {error}"):
                        raise UserError(_told(model, error, phase)) from error


def made_up_sample() -> dict:
    """An image as the pipeline of a test gives it; it has no path, and what else a model may need is not missed."""
    shape = (SIDE, SIDE)
    metainfo = {"img_id": 0, "img_path": "", "ori_shape": shape, "img_shape": shape, "scale_factor": (1.0, 1.0)}
    return {"inputs": torch.zeros(3, *shape, dtype=torch.uint8), "data_samples": DetDataSample(metainfo=metainfo)}


def _init_weights(model: Any) -> None:
    """Some parameters hold no numbers before."""
    for module in model.modules():
        if "Pretrained" in str(getattr(module, "init_cfg", None)):
            module.init_cfg = None
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("ERROR")
    model.init_weights()
    logger.setLevel(level)


def _detect_whatever_the_score(model: nn.Module) -> None:
    """Untrained weights give scores below every threshold, and what comes behind it would not be tried."""
    for entry in {id(cfg): cfg for module in model.modules() for cfg in _test_cfgs(module)}.values():
        # Heads that make masks of all that they detect have no boxes to suppress.
        if "nms" in entry and "score_thr" in entry:
            entry["score_thr"] = -1.0
            entry["max_per_img"] = min(MOST_DETECTIONS, entry.get("max_per_img", MOST_DETECTIONS))


def _test_cfgs(module: nn.Module) -> Iterator[dict]:
    entry = getattr(module, "test_cfg", None)
    for cfg in (entry, entry.get("rcnn"), entry.get("rpn")) if isinstance(entry, dict) else ():
        if isinstance(cfg, dict):
            yield cfg


def _batches(sample: Any, training: bool) -> Iterator[tuple[dict, bool]]:
    """The corner of the sample, then the whole; nothing for samples that are not one image with its objects."""
    data_sample = sample.get("data_samples") if isinstance(sample, dict) else None
    image = sample.get("inputs") if isinstance(sample, dict) else None
    if not isinstance(image, Tensor) or image.dim() != 3 or not isinstance(data_sample, DetDataSample):
        return
    # Batch normalisation wants two.
    copies = 2 if training else 1
    boxes = data_sample.gt_instances.get("bboxes") if "gt_instances" in data_sample else None
    if not training or (boxes is not None and boxes.shape[-1] == 4):
        yield pseudo_collate([_corner(image, data_sample, training)] * copies), False
    yield pseudo_collate([sample] * copies), True


def _corner(image: Tensor, data_sample: DetDataSample, training: bool) -> dict:
    corner = image[:, :SIDE, :SIDE].contiguous()
    height, width = corner.shape[1:]
    sizes = {key: (height, width) for key in ("img_shape", "ori_shape") if key in data_sample}
    cut = DetDataSample(metainfo={**data_sample.metainfo, **sizes})
    if training:
        objects = data_sample.gt_instances
        box = torch.tensor([[width / 4, height / 4, width * 3 / 4, height * 3 / 4]])
        own = {"bboxes": box if isinstance(objects.bboxes, Tensor) else type(objects.bboxes)(box)}
        own["labels"] = torch.zeros(1, dtype=torch.long)
        if "masks" in objects:
            x1, y1, x2, y2 = box[0].tolist()
            polygon = [numpy.array([x1, y1, x2, y1, x2, y2, x1, y2])]
            masks = PolygonMasks([polygon], height, width)
            whole = BitmapMasks(numpy.ones((1, height, width), numpy.uint8), height, width)
            own["masks"] = masks if isinstance(objects.masks, PolygonMasks) else whole
        cut.gt_instances = InstanceData(**own)
        cut.ignored_instances = InstanceData(bboxes=own["bboxes"][:0], labels=own["labels"][:0])
        if "gt_sem_seg" in data_sample:
            cut.gt_sem_seg = PixelData(sem_seg=data_sample.gt_sem_seg.sem_seg[..., :height, :width])
    return {"inputs": corner, "data_samples": cut}


def _step(model: Any, batch: dict, training: bool) -> None:
    # A distillation's train() returns None.
    model.train(training)
    if training:
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
        total, each = model.parse_losses(losses)
        for name in sorted(each, key="loss".__eq__):
            value = float(each[name].detach())
            if not math.isfinite(value):
                raise FloatingPointError(f"{name} is {value:g} before any training")
        total.backward()
    else:
        with torch.no_grad():
            model.test_step(batch)


def _told(model: nn.Module, error: Exception, phase: str) -> str:
    names, part = {id(module): name for name, module in model.named_modules()}, ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        part = names.get(id(frame.f_locals.get("self")), part) or part
    reason = " ".join(in_words(error).split())[:300]
    what = "a training step" if phase == "train" else "a prediction"
    return f"{'.'.join(filter(None, ('model', part)))}: {what} fails: {reason}\nMend that part of the config."
