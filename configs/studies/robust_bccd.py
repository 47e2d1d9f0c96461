"""The robust form of GHM-C on BCCD, clean and with 40 % of the training labels damaged, beside what it is to beat.

python tools/study.py configs/studies/bccd_search.py configs/studies/robust_bccd.py
Runs of about 2.5 minutes on 2 CPU cores. The robust form is not searched: lr is
cross-entropy's, the loss weight 3, as that of cross-entropy, or 1.
"""

_base_ = "bccd.py"

title = "BCCD: the robust form of GHM-C"
seeds = [1, 2, 3, 4, 5, 6]
noise = [0.0, 0.4]
reference = ["CE", "CE, weight 10", "Focal Loss"]


def ce(head=None, **options):
    head = {f"model.bbox_head.{key}": value for key, value in (head or {}).items()}
    return dict(config="bccd/retinanet_ce_lite0_bccd.py", tuned_as="CE", options={**head, **options})


hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=10), dict(type="ghm_mmdet.OptimalBiasInitHook")]
robust = dict(
    density_scope="batch",
    loss_cls=dict(
        _delete_=True,
        type="ghm_mmdet.GHMC",
        bins=30,
        momentum=0.75,
        use_sigmoid=True,
        max_weight=10.0,
        normalize="positives",
        loss_weight=1.0,
    ),
)
ghm_r = dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.1, bins=10, momentum=0.7, loss_weight=10.0)
threshold = dict(_delete_=True, type="ghm_mmdet.ThresholdCrossEntropyLoss", use_sigmoid=True, loss_weight=1.0 / 3.0)
methods = {
    "_delete_": True,
    "CE": _base_.methods["CE"],
    "CE, optimal bias": ce(custom_hooks=hooks),
    "CE, weight 10": dict(
        ce(
            dict(loss_cls=dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True, loss_weight=10.0)),
            **{"optim_wrapper.optimizer.lr": 0.01},
        ),
        tuned_as=None,
    ),
    "Focal Loss": _base_.methods["Focal Loss"],
    "GHM-C, robust": ce(robust),
    "GHM-C, robust + GHM-R, mu 0.1": ce(dict(robust, loss_bbox=ghm_r)),
    # The search's factor of 3 makes 1.
    "GHM-C, robust + GHM-R, mu 0.1, weight 1": ce(
        dict(robust, loss_cls=dict(robust["loss_cls"], loss_weight=1.0 / 3.0), loss_bbox=ghm_r)
    ),
    "GHM-C, robust + GHM-R, mu auto, weight 1": ce(
        dict(robust, loss_cls=dict(robust["loss_cls"], loss_weight=1.0 / 3.0), loss_bbox=dict(ghm_r, mu="auto"))
    ),
    # The control: what the density adds; and the form in between, bounded so low that the crowd alone is below it.
    "CE above a threshold + GHM-R, mu 0.1, weight 1": ce(dict(loss_cls=threshold, loss_bbox=ghm_r)),
    "GHM-C, robust, max_weight 1 + GHM-R, mu 0.1, weight 1": ce(
        dict(robust, loss_cls=dict(robust["loss_cls"], loss_weight=1.0 / 3.0, max_weight=1.0), loss_bbox=ghm_r)
    ),
    # A factor of 3 on its settings.
    **{
        f"GHM-C, robust + GHM-R, mu 0.1, {name}": dict(
            ce(
                dict(robust, loss_cls=dict(robust["loss_cls"], loss_weight=loss_weight), loss_bbox=ghm_r),
                **{"optim_wrapper.optimizer.lr": lr},
            ),
            tuned_as=None,
        )
        for name, lr, loss_weight in (
            ("weight 1, lr 0.03", 0.03, 1.0),
            ("weight 1, lr 0.0033", 0.0033, 1.0),
            ("weight 0.33", 0.01, 0.33),
        )
    },
}
del hooks, robust, ghm_r, threshold
