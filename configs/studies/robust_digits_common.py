"""The robust form of GHM-C on digits where positives are common, clean and with 40 % of the training labels damaged.

python tools/study.py configs/studies/robust_digits_common.py
Runs of about 60 s on a CPU core, tested on the test split's handwriting. lr and loss weight are those of
robust_digits.py with 529 logits to a positive. One class has no wrong class; there boxes are moved or missing.
"""

_base_ = "robust_digits.py"

title = "Digits: the robust form of GHM-C where positives are common"
seeds = [1, 2, 3, 4]
noise = [0.0]
reference = ["CE, optimal bias", "Focal Loss, lr 0.02"]
methods = {
    "_delete_": True,
    **{
        name: _base_.methods[name]
        for name in (
            "CE, optimal bias",
            "Focal Loss, lr 0.02",
            "Focal Loss, weight 3",
            "GHM-C, robust + GHM-R, mu 0.1, weight 1",
            "CE above a threshold + GHM-R, mu 0.1, weight 1",
        )
    },
}
common = dict(object_size=[18, 40], num_train=400, num_val=100, num_test=100, image_size=[128, 128])
one_class = dict(common, objects_per_image=[10, 10], num_classes=1)
three_classes = dict(common, objects_per_image=[4, 4], num_classes=3)
scenes = {
    "_delete_": True,
    "10 objects, 1 class, 128 px": one_class,
    "4 objects, 3 classes, 128 px": three_classes,
    "10 objects, 1 class, 128 px, 40 % damaged": dict(one_class, jittered=0.2, missing=0.2),
    "4 objects, 3 classes, 128 px, 40 % damaged": dict(
        three_classes, mislabelled=0.4 / 3, jittered=0.4 / 3, missing=0.4 / 3
    ),
}
del common, one_class, three_classes
