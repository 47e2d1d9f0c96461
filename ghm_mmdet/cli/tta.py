"""Test-time augmentation."""

from __future__ import annotations

import copy

from mmengine.config import Config, ConfigDict

from ghm_mmdet.errors import UserError, print_notice

META_KEYS = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")


def use_test_time_augmentation(cfg: Config) -> None:
    """Wraps the model and the test pipeline; a config without `tta_model` or `tta_pipeline` gets flips and NMS."""
    if cfg.get("tta_model") is None:
        print_notice("tta: no tta_model in the config, using DetTTAModel with NMS at IoU 0.5, 100 boxes per image.")
        cfg.tta_model = {
            "type": "DetTTAModel",
            "tta_cfg": {"nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 100},
        }
    data_set = cfg.test_dataloader.dataset
    while "dataset" in data_set:
        data_set = data_set.dataset
    if cfg.get("tta_pipeline") is None:
        if "pipeline" not in data_set:
            raise UserError("--tta: the test data set has no pipeline of its own.\nDefine tta_pipeline in the config.")
        print_notice("tta: no tta_pipeline in the config, using the test pipeline with and without a horizontal flip.")
        flips = [{"type": "RandomFlip", "prob": 1.0}, {"type": "RandomFlip", "prob": 0.0}]
        pack = [{"type": "PackDetInputs", "meta_keys": META_KEYS}]
        loading = copy.deepcopy(data_set.pipeline[:-1])
        cfg.tta_pipeline = [*loading, {"type": "TestTimeAug", "transforms": [flips, pack]}]
    data_set.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
