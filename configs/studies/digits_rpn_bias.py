"""Where the bias of the RPN's objectness starts: at its optimum, at a prior of 0.01, at 0; for CE and GHM-C.

python tools/study.py configs/studies/digits_rpn_bias.py
12 runs of about 90 s on a CPU core, nothing searched.
"""

title = "Digits: start of the RPN's bias"
reference = ["CE, bias 0", "GHM-C, bias 0"]
seeds = [0, 1]

# Faster R-CNN on EfficientNet-Lite0, its RPN trained on all anchors.
detector = {
    "norm_cfg.num_groups": 16,
    "model.data_preprocessor": dict(mean=[127.0] * 3, std=[128.0] * 3),
    "model.backbone": dict(_delete_=True, type="ghm_mmdet.EfficientNetLite0", frozen_blocks=5),
    "model.neck": dict(in_channels=[40, 112, 320], norm_cfg=dict(num_groups=16)),
    "model.rpn_head": dict(type="ghm_mmdet.RPNHead", density_scope="batch"),
    "model.train_cfg.rpn.sampler": dict(_delete_=True, type="PseudoSampler"),
    "train_dataloader.batch_size": 4,
    "optim_wrapper.optimizer": dict(_delete_=True, type="SGD", lr=0.02, momentum=0.9, weight_decay=0.0001),
    "auto_scale_lr": dict(enable=False, base_batch_size=4),
}
# mmdet's RPN starts at 0, a prior of one half.
prior = dict(type="Normal", layer="Conv2d", std=0.01)
hook = [dict(type="ghm_mmdet.OptimalBiasInitHook")]
starts = {
    "optimal bias": {"custom_hooks": hook},
    "prior 0.01": {
        "model.rpn_head.init_cfg": dict(prior, override=dict(type="Normal", name="rpn_cls", std=0.01, bias_prob=0.01))
    },
    "bias 0": {},
}
ghm_c = dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True)
losses = {"CE": {}, "GHM-C": {"model.rpn_head.loss_cls": ghm_c}}
methods = {
    f"{name}, {start}": dict(config="digits/faster-rcnn_digits.py", options={**detector, **loss, **options})
    for name, loss in losses.items()
    for start, options in starts.items()
}
scenes = {
    "2 objects, 3 classes, 128 px": dict(
        object_size=[18, 40],
        num_train=400,
        num_val=100,
        num_test=100,
        image_size=[128, 128],
        objects_per_image=[2, 2],
        num_classes=3,
    )
}
options = {
    "train_cfg.max_epochs": 6,
    "train_cfg.val_interval": 6,
    "param_scheduler.0.end": 50,
    "param_scheduler.1.end": 6,
    "param_scheduler.1.T_max": 6,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
    "val_dataloader.dataset.ann_file": "annotations/instances_test.json",
    "val_dataloader.dataset.data_prefix.img": "test/",
}
del detector, prior, hook, starts, ghm_c, losses
