"""Where positives are rarest, with the settings that were searched there.

python tools/study.py configs/studies/digits_search_rare.py configs/studies/digits_rare.py
8 runs of about 80 s on a CPU core, tested on the test split's handwriting.
"""

_base_ = "digits_search_rare.py"

title = "Digits: rarest positives, tuned there"
tuned_by = "digits_search_rare"
search = None
seeds = [0, 1]
reference = "Focal Loss"
options = {
    "val_dataloader.dataset.ann_file": "annotations/instances_test.json",
    "val_dataloader.dataset.data_prefix.img": "test/",
}
