"""Digits with clean labels and with 40 % of the training boxes damaged, as BCCD's in bccd_noise.py.

python tools/study.py configs/studies/digits_search.py configs/studies/digits_noise.py
32 runs of about 40 s on a CPU core, the clean ones those of digits_imbalance.py.
"""

_base_ = "digits_imbalance.py"

title = "Digits: clean and damaged labels"
common = dict(
    object_size=[18, 40],
    num_train=400,
    num_val=100,
    num_test=100,
    image_size=[128, 128],
    objects_per_image=[4, 4],
    num_classes=10,
)
scenes = {
    "_delete_": True,
    "clean": common,
    "40 % damaged": dict(common, mislabelled=0.4 / 3, jittered=0.4 / 3, missing=0.4 / 3),
}
del common
