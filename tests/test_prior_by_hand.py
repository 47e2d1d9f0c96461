"""Positives and samples of real images, as training has them, against assignments written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch import Tensor

from ghm_mmdet.prior import find_dense_heads, measure_priors

IMAGES, BATCH = 8, 3
CE = dict(type="CrossEntropyLoss", use_sigmoid=True)
ALL_ANCHORS = dict(sampler=dict(type="PseudoSampler"))
DETECTORS = {
    "RetinaNet": ("retinanet/retinanet_r50_fpn_1x_coco.py", dict(bbox_head=dict(stacked_convs=1))),
    "RPN": ("rpn/rpn_r50_fpn_1x_coco.py", dict(train_cfg=dict(rpn=ALL_ANCHORS))),
    "ATSS": ("atss/atss_r50_fpn_1x_coco.py", dict(bbox_head=dict(stacked_convs=1))),
    "FCOS": ("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", dict(bbox_head=dict(stacked_convs=1))),
    "RTMDet": ("rtmdet/rtmdet_tiny_8xb32-300e_coco.py", {}),
}


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(-1) for box in (a, b))
    return common / (area_a[:, None] + area_b[None] - common)


def grid(height: int, width: int, stride: int, offset: float) -> Tensor:
    """Places of a feature map, row by row, shape (H, W, 2)."""
    y, x = torch.meshgrid(
        torch.arange(math.ceil(height / stride)), torch.arange(math.ceil(width / stride)), indexing="ij"
    )
    return (torch.stack([x, y], -1) + offset) * float(stride)


def anchors(height: int, width: int, strides: list[int], shapes: list[tuple[float, float]]) -> list[Tensor]:
    """For each level the anchors of an image, shape (H W A, 4); shapes are (width, height) over the stride."""
    levels = []
    for stride in strides:
        centers = grid(height, width, stride, 0).reshape(-1, 1, 2)
        half = torch.tensor(shapes).reshape(1, -1, 2) * stride / 2
        levels.append(torch.cat([centers - half, centers + half], -1).reshape(-1, 4))
    return levels


def shapes(octaves: list[float], ratios: list[float]) -> list[tuple[float, float]]:
    return [(size / math.sqrt(ratio), size * math.sqrt(ratio)) for ratio in ratios for size in octaves]


def by_iou(boxes, height, width, strides, octaves, positive_at, negative_below, least) -> tuple[int, int]:
    """The rule of Faster R-CNN: anchors of enough overlap, and those that are an object's best."""
    all_anchors = torch.cat(anchors(height, width, strides, shapes(octaves, [0.5, 1.0, 2.0])))
    table = overlaps(all_anchors, boxes)
    best = table.max(1).values
    positive = best >= positive_at
    for column in table.t():
        if column.max() >= least:
            positive |= column == column.max()
    negative = (best < negative_below) & ~positive
    return int(positive.sum()), int((positive | negative).sum())


def retinanet(boxes, labels, image, batch):
    octaves = [4 * 2 ** (i / 3) for i in range(3)]
    return by_iou(boxes, *image, [8, 16, 32, 64, 128], octaves, 0.5, 0.4, 0)


def rpn(boxes, labels, image, batch):
    return by_iou(boxes, *image, [4, 8, 16, 32, 64], [8.0], 0.7, 0.3, 0.3)


def atss(boxes, labels, image, batch):
    levels = anchors(*image, [8, 16, 32, 64, 128], [(8.0, 8.0)])
    every = torch.cat(levels)
    centers = (every[:, :2] + every[:, 2:]) / 2
    table = overlaps(every, boxes)
    positive = set()
    for j, box in enumerate(boxes):
        distance = (centers - (box[:2] + box[2:]) / 2).norm(dim=1)
        candidates, start = [], 0
        for level in levels:
            part = distance[start : start + len(level)]
            candidates += (part.topk(min(9, len(part)), largest=False).indices + start).tolist()
            start += len(level)
        iou = table[candidates, j]
        threshold = iou.mean() + iou.std()
        for i, value in zip(candidates, iou):
            inside = min(*(centers[i] - box[:2]).tolist(), *(box[2:] - centers[i]).tolist()) > 0.01
            if value >= threshold and inside:
                positive.add(i)
    return len(positive), len(every)


def fcos(boxes, labels, image, batch):
    """All places of the batch count, those beyond the image as well."""
    num_pos = num_samples = 0
    limits = [-1, 64, 128, 256, 512, 1e8]
    for level, stride in enumerate([8, 16, 32, 64, 128]):
        for x, y in grid(*batch, stride, 0.5).reshape(-1, 2).tolist():
            sides = [(x - x1, y - y1, x2 - x, y2 - y) for x1, y1, x2, y2 in boxes.tolist()]
            num_samples += 1
            num_pos += any(min(side) > 0 and limits[level] <= max(side) <= limits[level + 1] for side in sides)
    return num_pos, num_samples


def rtmdet(boxes, labels, image, batch, logits, predicted):
    """SimOTA with soft labels: the cost of each place in a box, and as many of the cheapest as the IoUs sum to."""
    places = []
    for stride in (8, 16, 32):
        places += [(x, y, stride) for x, y in grid(*image, stride, 0).reshape(-1, 2).tolist()]
    inside = [
        i for i, (x, y, _) in enumerate(places) if any(x1 < x < x2 and y1 < y < y2 for x1, y1, x2, y2 in boxes.tolist())
    ]
    if not inside:
        return 0, len(places)
    iou = overlaps(predicted[inside], boxes)
    cost = torch.zeros_like(iou)
    for row, i in enumerate(inside):
        x, y, stride = places[i]
        for j, box in enumerate(boxes):
            cx, cy = ((box[:2] + box[2:]) / 2).tolist()
            target = torch.zeros(80)
            target[labels[j]] = iou[row, j]
            p = logits[i].sigmoid()
            ce = -(target * p.log() + (1 - target) * (1 - p).log())
            cost[row, j] = (ce * (target - p).abs() ** 2).sum() - 3 * torch.log(iou[row, j] + 1e-7)
            cost[row, j] += 10 ** (math.hypot(x - cx, y - cy) / stride - 3)
    positive = set()
    for j in range(len(boxes)):
        k = max(1, int(iou[:, j].topk(min(13, len(inside))).values.sum()))
        positive |= set(cost[:, j].topk(k, largest=False).indices.tolist())
    return len(positive), len(places)


BY_HAND = {"RetinaNet": retinanet, "RPN": rpn, "ATSS": atss, "FCOS": fcos, "RTMDet": rtmdet}


def detector_and_data(name, root, tmp_path):
    path, changes = DETECTORS[name]
    text = f'_base_ = "mmdet::{path}"\nmodel = dict(backbone=dict(init_cfg=None))\n'
    (tmp_path / "config.py").write_text(text)
    cfg = Config.fromfile(tmp_path / "config.py")
    cfg.merge_from_dict(dict(model=changes))
    if name != "RTMDet":
        cfg.model.backbone.base_channels, cfg.model.neck.in_channels = 8, [32, 64, 128, 256]
        loss = cfg.model.rpn_head if name == "RPN" else cfg.model.bbox_head
        loss.loss_cls = CE
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="Resize", scale=(224, 160), keep_ratio=True),
        dict(type="PackDetInputs"),
    ]
    data = cfg.train_dataloader.dataset
    data.update(type="CocoDataset", data_root=str(root), pipeline=pipeline, indices=IMAGES)
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model, DATASETS.build(data)


@pytest.mark.parametrize("name", DETECTORS)
def test_real_images_in_batches(tmp_path, tiny_coco_root, name):
    model, data = detector_and_data(name, tiny_coco_root, tmp_path)
    heads = find_dense_heads(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    (prior,) = measure_priors(model, heads, data, batch_size=BATCH)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())

    expected = torch.zeros(2, dtype=torch.int64)
    widths = set()
    for start in range(0, IMAGES, BATCH):
        batch = model.data_preprocessor(pseudo_collate([data[i] for i in range(start, min(start + BATCH, IMAGES))]))
        size = tuple(batch["inputs"].shape[-2:])
        predictions = predict_as_untrained(model, batch["inputs"]) if name == "RTMDet" else [()] * BATCH
        for sample, predicted in zip(batch["data_samples"], predictions):
            truth = sample.gt_instances
            widths.add(sample.pad_shape[1] < size[1] or sample.pad_shape[0] < size[0])
            if name == "RTMDet":
                predicted = of_image(predicted, size, sample.pad_shape)
            expected += torch.tensor(BY_HAND[name](truth.bboxes, truth.labels, sample.pad_shape, size, *predicted))
    assert True in widths  # some images are padded to the size of others
    assert (prior.num_pos, prior.num_samples) == tuple(expected.tolist())
    assert 0 < prior.num_pos < prior.num_samples and prior.num_classes == (1 if name == "RPN" else 80)


@torch.no_grad()
def predict_as_untrained(model, inputs) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Logits and boxes of each image and level, with the batch's own statistics in the norms."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    scores, distances = model.bbox_head(model.extract_feat(inputs))
    model.load_state_dict(before)
    images = []
    for i in range(len(inputs)):
        boxes = []
        for level, stride in zip(distances, (8, 16, 32)):
            points = grid(*inputs.shape[-2:], stride, 0)
            left, top, right, bottom = level[i]
            x, y = points.unbind(-1)
            boxes.append(torch.stack([x - left, y - top, x + right, y + bottom], -1))
        images.append(([level[i].permute(1, 2, 0) for level in scores], boxes))
    return images


def of_image(predicted, batch, image) -> tuple[Tensor, Tensor]:
    """The places that are the image's own, those of its padding to the size of the batch left out."""
    cut = []
    for maps in predicted:
        parts = [m[: math.ceil(image[0] / s), : math.ceil(image[1] / s)] for m, s in zip(maps, (8, 16, 32))]
        cut.append(torch.cat([part.reshape(-1, part.shape[-1]) for part in parts]))
    return tuple(cut)
