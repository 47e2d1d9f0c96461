"""The search once more where positives are rarest: does Focal Loss trail there for want of tuning?

python tools/study.py configs/studies/digits_search_rare.py
24 runs of about 80 s on a CPU core, on the last scenes of digits_imbalance.py; four of the losses.
"""

_base_ = "digits_search.py"

title = "Digits: the search where positives are rarest"
methods = {
    "_delete_": True,
    **{name: _base_.methods[name] for name in ("OHEM", "Focal Loss", "FL*", "GHM-C, bounded")},
}
common = dict(object_size=[18, 40], num_train=400, num_val=100, num_test=100)
scenes = {
    "_delete_": True,
    "2 objects, 10 classes, 192 px": dict(common, image_size=[192, 192], objects_per_image=[2, 2], num_classes=10),
}
search = dict(loss_weight=[1, 3])
del common
