"""Where the classification bias starts: at its optimum, at the usual prior of 0.01, at 0; for CE and GHM-C.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_bias.py
12 runs of about 2.5 minutes on 2 CPU cores, at the best settings of the search.
"""

_base_ = "bccd.py"

title = "BCCD: start of the classification bias"
seeds = [0, 1]
reference = ["CE, prior 0.01", "GHM-C, prior 0.01"]

# At a prior of one half the bias is 0.
hook = [dict(type="ghm_mmdet.FiniteLossHook", interval=10), dict(type="ghm_mmdet.OptimalBiasInitHook")]
starts = {
    "optimal bias": {"custom_hooks": hook},
    "prior 0.01": {},
    "bias 0": {"model.bbox_head.init_cfg.override.bias_prob": 0.5},
}
names = {"CE": "ce", "GHM-C": "ghmc"}
methods = {
    f"{name}, {start}": dict(config=f"bccd/retinanet_{file}_lite0_bccd.py", tuned_as=name, options=options)
    for name, file in names.items()
    for start, options in starts.items()
}
methods["_delete_"] = True
del hook, starts, names
