"""The robust form of GHM-C on digits after five times as many iterations: do the orders survive?

python tools/study.py configs/studies/robust_digits_long.py
Runs of about 4 minutes on a CPU core, tested on the test split's handwriting; 15 epochs where robust_digits.py has 3,
and settings of its.
"""

_base_ = "robust_digits.py"

title = "Digits: five times as long"
seeds = [1, 2, 3]
noise = [0.0]
reference = ["CE, optimal bias", "Focal Loss, weight 3", "GHM-C, robust + GHM-R, mu 0.1, weight 1"]
methods = {
    "_delete_": True,
    **{
        name: _base_.methods[name]
        for name in (
            "CE, optimal bias",
            "CE, optimal bias, lr 0.0017",
            "Focal Loss, weight 3",
            "GHM-C, robust + GHM-R, mu 0.1, weight 1",
            "GHM-C, robust + GHM-R, mu 0.1, weight 1, lr 0.0017",
            "GHM-C, robust + GHM-R, mu 0.1, weight 1, lr 0.015",
            "GHM-C, robust + GHM-R, mu 0.1, weight 0.33",
        )
    },
}
scenes = {"_delete_": True, "4 objects, 10 classes, 128 px": _base_.scenes["4 objects, 10 classes, 128 px"]}
options = {
    "train_cfg.max_epochs": 15,
    "train_cfg.val_interval": 15,
    "param_scheduler.1.end": 15,
    "param_scheduler.1.T_max": 15,
}
