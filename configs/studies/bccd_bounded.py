"""GHM-C with bounded weights on BCCD, with clean labels and with 40 % of the training labels damaged.

python tools/study.py configs/studies/bccd_{search,bounded_search,bounded}.py
16 runs of about 2.5 minutes on 2 CPU cores, 12 of them those of bccd.py and bccd_noise.py.
"""

_base_ = "bccd_bounded_search.py"

title = "BCCD: GHM-C with bounded weights"
tuned_by = "bccd_bounded_search"
search = None
noise = [0.0, 0.4]
seeds = [0, 1]
reference = ["Focal Loss", "CE", "GHM-C"]
options = {
    "_delete_": True,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
