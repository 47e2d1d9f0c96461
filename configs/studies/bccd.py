"""BCCD as it is and with 20 % and 40 % of the training labels damaged: every loss at its best setting.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd.py
84 runs of about 2.5 minutes on 2 CPU cores, trained on trainval, tested on the test split as it is.
"""

_base_ = "bccd_search.py"

title = "BCCD: clean and damaged labels"
tuned_by = "bccd_search"
search = None
seeds = [0, 1, 2, 3]
noise = [0.0, 0.2, 0.4]
reference = ["Focal Loss", "CE"]
options = {
    "_delete_": True,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
