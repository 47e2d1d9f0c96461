"""BCCD as it is: every loss at its best setting, trained on trainval, tested on test.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd.py
28 runs of about 2.5 minutes on 2 CPU cores.
"""

_base_ = "bccd_search.py"

title = "BCCD as it is"
tuned_by = "bccd_search"
search = None
seeds = [0, 1, 2, 3]
reference = ["Focal Loss", "CE"]
options = {
    "_delete_": True,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
