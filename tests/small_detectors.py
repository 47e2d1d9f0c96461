"""mmdet's RetinaNet and Faster R-CNN at a size that trains in seconds, on the tools' tests' shapes."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from tools.running import CONFIG

CE = "dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0)"

FASTER_RCNN = """
_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
model = dict(
    backbone=dict(depth=18, init_cfg=None, base_channels=8, frozen_stages=-1, norm_eval=False),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=3)))
"""


def retinanet(folder: Path, data: Path, **options) -> Config:
    """With plain cross-entropy."""
    text = CONFIG.format(data=data) + f'model["bbox_head"]["loss_cls"] = {CE}\n'
    return _config(folder / "retinanet.py", text, options)


def faster_rcnn(folder: Path, data: Path, **options) -> Config:
    """As mmdet samples: 256 anchors per image."""
    _, _, rest = CONFIG.format(data=data).partition("pipeline = [")
    head = f'data_root = "{data}/"\nmetainfo = dict(classes=("disc", "square", "bar"))\n'
    return _config(folder / "faster_rcnn.py", FASTER_RCNN + head + "pipeline = [" + rest, options)


def _config(path: Path, text: str, options: dict) -> Config:
    path.write_text(text)
    cfg = Config.fromfile(path)
    cfg.merge_from_dict({"work_dir": str(path.parent / "run"), **options})
    init_default_scope("mmdet")
    return cfg


def roi_head_config(type: str, sampler: dict, num_classes: int, **options) -> ConfigDict:
    """An RoI head of mmdet's kind on one level of 4 channels at stride 8."""
    assigner = dict(type="mmdet.MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5)
    return ConfigDict(
        type=type,
        bbox_roi_extractor=dict(
            type="mmdet.SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=2),
            out_channels=4,
            featmap_strides=[8],
        ),
        bbox_head=dict(
            type="mmdet.Shared2FCBBoxHead",
            in_channels=4,
            fc_out_channels=16,
            num_classes=num_classes,
            bbox_coder=dict(type="mmdet.DeltaXYWHBBoxCoder"),
            loss_cls=dict(type="mmdet.CrossEntropyLoss", use_sigmoid=False),
            loss_bbox=dict(type="mmdet.L1Loss"),
        ),
        train_cfg=dict(assigner=assigner, sampler=sampler, pos_weight=-1),
        **options,
    )
