"""The axis that the GHM paper is about: AP against imbalance, from a dozen logits to a positive to thousands.

python tools/study.py configs/studies/digits_search.py configs/studies/digits_imbalance.py
80 runs of 40 to 90 s on a CPU core, at the best settings of the search, tested on the test split's handwriting. More
objects make positives less rare; more classes and larger images make them rarer. The third scenes also with 40 % of the
training boxes damaged, as BCCD's in bccd.py.
"""

_base_ = "digits_search.py"

title = "Digits: imbalance"
tuned_by = "digits_search"
search = None
seeds = [0, 1]
reference = ["Focal Loss", "CE", "GHM-C"]
common = dict(object_size=[18, 40], num_train=400, num_val=100, num_test=100)
third = dict(common, image_size=[128, 128], objects_per_image=[4, 4], num_classes=10)
scenes = {
    "_delete_": True,
    "10 objects, 1 class, 128 px": dict(common, image_size=[128, 128], objects_per_image=[10, 10], num_classes=1),
    "4 objects, 3 classes, 128 px": dict(common, image_size=[128, 128], objects_per_image=[4, 4], num_classes=3),
    "4 objects, 10 classes, 128 px": third,
    "2 objects, 10 classes, 192 px": dict(common, image_size=[192, 192], objects_per_image=[2, 2], num_classes=10),
    "4 objects, 10 classes, 128 px, 40 % damaged": dict(third, mislabelled=0.4 / 3, jittered=0.4 / 3, missing=0.4 / 3),
}
options = {
    "val_dataloader.dataset.ann_file": "annotations/instances_test.json",
    "val_dataloader.dataset.data_prefix.img": "test/",
}
del common, third
