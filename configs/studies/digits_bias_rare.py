"""Where positives are rarest: the classification bias at its optimum and at the usual prior of 0.01.

python tools/study.py configs/studies/digits_search.py configs/studies/digits_bias_rare.py
12 runs of about 80 s on a CPU core, 6 of them those of digits_imbalance.py, at the best settings of the search.
"""

_base_ = "digits_bias.py"

title = "Digits: start of the classification bias where positives are rarest"
reference = ["CE, optimal bias", "CE, prior 0.01"]
methods = {
    "_delete_": True,
    **{
        f"{name}, {start}": _base_.methods[f"{name}, {start}"]
        for name in ("CE", "Focal Loss", "GHM-C, bounded")
        for start in ("optimal bias", "prior 0.01")
    },
}
common = dict(object_size=[18, 40], num_train=400, num_val=100, num_test=100)
scenes = {
    "_delete_": True,
    "2 objects, 10 classes, 192 px": dict(common, image_size=[192, 192], objects_per_image=[2, 2], num_classes=10),
}
del common
