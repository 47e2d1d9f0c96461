"""Where the classification bias starts: at its optimum, at the usual prior of 0.01, at 0; for four losses.

python tools/study.py configs/studies/digits_search.py configs/studies/digits_bias.py
48 runs of 40 to 80 s on a CPU core, at the best settings of the search with 529 logits to a positive. Bias 0 and GHM-C
as released were left out where positives are rarest.
"""

_base_ = "digits_imbalance.py"

title = "Digits: start of the classification bias"
reference = ["CE, optimal bias", "CE, prior 0.01", "Focal Loss, prior 0.01", "GHM-C, prior 0.01"]

# At a prior of one half the bias is 0.
hook = [dict(type="ghm_mmdet.FiniteLossHook", interval=10), dict(type="ghm_mmdet.OptimalBiasInitHook")]
starts = {
    "optimal bias": {"custom_hooks": hook},
    "prior 0.01": {},
    "bias 0": {
        "model.bbox_head.init_cfg": dict(
            type="Normal",
            layer="Conv2d",
            std=0.01,
            override=dict(type="Normal", name="retina_cls", std=0.01, bias_prob=0.5),
        )
    },
}
focal = dict(_delete_=True, type="FocalLoss", gamma=2.0, alpha=0.25, use_sigmoid=True)
ghm_c = dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True)
bounded = dict(ghm_c, max_weight=10.0, loss_weight=80.0)
losses = {
    "CE": {},
    "Focal Loss": {"model.bbox_head.loss_cls": focal},
    "GHM-C": {"model.bbox_head.loss_cls": ghm_c},
    "GHM-C, bounded": {"model.bbox_head.loss_cls": bounded, "model.bbox_head.density_scope": "batch"},
}
methods = {
    f"{name}, {start}": dict(config="digits/retinanet_ce_lite0_digits.py", tuned_as=name, options={**loss, **options})
    for name, loss in losses.items()
    for start, options in starts.items()
}
methods["_delete_"] = True
names = ("4 objects, 10 classes, 128 px", "2 objects, 10 classes, 192 px")
scenes = {"_delete_": True, **{name: _base_.scenes[name] for name in names}}
del hook, starts, losses, names, focal, ghm_c, bounded
