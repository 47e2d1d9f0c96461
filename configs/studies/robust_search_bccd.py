"""A wider search on BCCD for what the robust form of GHM-C is to beat: cross-entropy from either bias, and Focal Loss.

python tools/study.py configs/studies/robust_search_bccd.py
Trained on BCCD's train split and judged on its val split, one seed; runs of about 3 minutes on a CPU core.
"""

_base_ = "bccd_search.py"

title = "BCCD: the search beside the robust form"
hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=10), dict(type="ghm_mmdet.OptimalBiasInitHook")]
methods = {
    "_delete_": True,
    "CE": _base_.methods["CE"],
    "CE, optimal bias": dict(config="bccd/retinanet_ce_lite0_bccd.py", options={"custom_hooks": hooks}),
    "Focal Loss": _base_.methods["Focal Loss"],
}
search = dict(lr=[0.01, 0.005, 0.02, 0.04], loss_weight=[1, 3, 10, 30])
del hooks
