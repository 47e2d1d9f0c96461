"""A wider search on BCCD for what the robust form of GHM-C is to beat: cross-entropy from either bias, and Focal Loss.

python tools/study.py configs/studies/robust_search_bccd.py
Trained on BCCD's train split and judged on its val split, one seed; runs of about 3 minutes on a CPU core.
"""

_base_ = "bccd_search.py"

title = "BCCD: the search beside the robust form"
hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=10), dict(type="ghm_mmdet.OptimalBiasInitHook")]
# The factor multiplies a weight of 1 / 3: a factor of 3 makes 1.
ours = dict(_delete_=True, use_sigmoid=True, loss_weight=1.0 / 3.0)
robust = dict(ours, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, max_weight=10.0, normalize="positives")
threshold = dict(ours, type="ghm_mmdet.ThresholdCrossEntropyLoss")
ghm_r = dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.1, bins=10, momentum=0.7, loss_weight=10.0)
methods = {
    "_delete_": True,
    "CE": _base_.methods["CE"],
    "CE, optimal bias": dict(config="bccd/retinanet_ce_lite0_bccd.py", options={"custom_hooks": hooks}),
    "Focal Loss": _base_.methods["Focal Loss"],
    "GHM-C, robust + GHM-R, mu 0.1": dict(
        config="bccd/retinanet_ce_lite0_bccd.py",
        options={
            "model.bbox_head.density_scope": "batch",
            "model.bbox_head.loss_cls": robust,
            "model.bbox_head.loss_bbox": ghm_r,
        },
    ),
    **{
        f"CE above 1/{part} + GHM-R, mu 0.1": dict(
            config="bccd/retinanet_ce_lite0_bccd.py",
            options={
                "model.bbox_head.loss_cls": dict(threshold, threshold=1.0 / part),
                "model.bbox_head.loss_bbox": ghm_r,
            },
        )
        for part in (100, 30, 10)
    },
}
search = dict(lr=[0.01, 0.005, 0.02, 0.04], loss_weight=[1, 3, 10, 30])
del hooks, ours, robust, threshold, ghm_r
