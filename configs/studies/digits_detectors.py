"""RTMDet, YOLOX, TOOD, DINO and Faster R-CNN in small, each with its own loss and with GHM-C in its place.

python tools/study.py configs/studies/digits_detectors.py
28 runs of 4 to 10 minutes on a CPU core. GHM-C is in its robust form at the weight of the loss that it takes the
place of; it is not searched, and the learning rate is what suits the own loss. Digits have no masks, so Mask R-CNN
stands here as Faster R-CNN, whose RPN and RoI head it has. Tested on the test split's handwriting.
"""

_base_ = "digits_imbalance.py"

title = "Digits: other detectors"
tuned_by = None
reference = ["RTMDet, own loss", "YOLOX, own loss", "TOOD, own loss", "DINO, own loss", "Faster R-CNN, own loss"]
seeds = [1, 2]

robust = dict(_delete_=True, type="ghm_mmdet.GHMC", use_sigmoid=True, normalize="positives", max_weight=10.0)
loss_cls = "model.bbox_head.loss_cls"


def all_levels(head):
    """One density for all levels of the pyramid; clipped, since what the first steps of Adam see lasts for hundreds."""
    return {
        "model.bbox_head.type": f"ghm_mmdet.{head}",
        "model.bbox_head.density_scope": "batch",
        "optim_wrapper.clip_grad": dict(max_norm=5.0),
    }


# Stock Faster R-CNN samples 256 anchors; the RPN with GHM-C has all.
two_stage = {
    "norm_cfg.num_groups": 16,
    "model.data_preprocessor": dict(mean=[127.0] * 3, std=[128.0] * 3),
    "model.backbone": dict(_delete_=True, type="ghm_mmdet.EfficientNetLite0", frozen_blocks=5),
    "model.neck": dict(in_channels=[40, 112, 320], norm_cfg=dict(num_groups=16)),
    "train_dataloader.batch_size": 4,
    "param_scheduler.0.end": 50,
    "optim_wrapper.optimizer": dict(_delete_=True, type="SGD", lr=0.02, momentum=0.9, weight_decay=0.0001),
    "auto_scale_lr": dict(enable=False, base_batch_size=4),
}
# So stock divides by its samples, the RPN with all anchors by the positives, which are far fewer.
rpn_head = dict(type="ghm_mmdet.RPNHead", density_scope="batch", loss_cls=robust)
rpn_alone = {
    **two_stage,
    "model.rpn_head": rpn_head,
    "model.train_cfg.rpn.sampler": dict(_delete_=True, type="PseudoSampler"),
}
both_heads = {**rpn_alone, "model.roi_head.bbox_head.loss_cls": dict(robust, use_sigmoid=False)}
methods = {
    "_delete_": True,
    **{
        f"{detector}, {name}": dict(config=f"digits/{config}_digits.py", options=options)
        for detector, config, own, ghm in (
            ("RTMDet", "rtmdet_lite0", {}, {loss_cls: robust, **all_levels("RTMDetSepBNHead")}),
            ("YOLOX", "yolox_lite0", {}, {"model.bbox_head.loss_obj": dict(robust, reduction="sum")}),
            ("TOOD", "tood_lite0", {}, {loss_cls: dict(robust, activated=True), **all_levels("TOODHead")}),
            ("DINO", "dino_lite0", {}, {loss_cls: dict(robust, momentum=0.0)}),
            ("Faster R-CNN", "faster-rcnn", two_stage, both_heads),
        )
        for name, options in (("own loss", own), ("GHM-C robust", ghm))
    },
    "RTMDet, GHM-C robust, a density per level, no clipping": dict(
        config="digits/rtmdet_lite0_digits.py", options={loss_cls: robust}
    ),
    "TOOD, GHM-C robust, a density per level, no clipping": dict(
        config="digits/tood_lite0_digits.py", options={loss_cls: dict(robust, activated=True)}
    ),
    "Faster R-CNN, GHM-C robust in the RPN alone": dict(config="digits/faster-rcnn_digits.py", options=rpn_alone),
    "Faster R-CNN, GHM-C robust in the RPN alone, weight 0.1": dict(
        config="digits/faster-rcnn_digits.py",
        options={**rpn_alone, "model.rpn_head": dict(rpn_head, loss_cls=dict(robust, loss_weight=0.1))},
    ),
}
options = {
    "train_cfg.max_epochs": 12,
    "train_cfg.val_interval": 12,
    "param_scheduler.1.end": 12,
    "param_scheduler.1.T_max": 12,
}
scenes = {"_delete_": True, "4 objects, 10 classes, 128 px": _base_.scenes["4 objects, 10 classes, 128 px"]}
del robust, loss_cls, two_stage, rpn_head, rpn_alone, both_heads
