"""The search that tunes the losses for the studies on BCCD: learning rate and weight of the classification loss.

python tools/study.py configs/studies/bccd_search.py
Trained on BCCD's train split and judged on its val split; 28 runs of about 1.7 minutes on 2 CPU cores.
"""

title = "BCCD: the search, on train and val"
methods = {
    "CE": "bccd/retinanet_ce_lite0_bccd.py",
    "alpha-CE": "bccd/retinanet_alpha-ce_lite0_bccd.py",
    "OHEM": "bccd/retinanet_ohem_lite0_bccd.py",
    "Focal Loss": "bccd/retinanet_focal_lite0_bccd.py",
    "FL*": "bccd/retinanet_focal-star_lite0_bccd.py",
    "GHM-C": "bccd/retinanet_ghmc_lite0_bccd.py",
    "GHM-C + GHM-R": "bccd/retinanet_ghm_lite0_bccd.py",
}
seeds = [100]
search = dict(lr=[0.01, 0.02], loss_weight=[1, 3])
options = {
    "train_dataloader.dataset.ann_file": "ImageSets/Main/train.txt",
    "val_dataloader.dataset.ann_file": "ImageSets/Main/val.txt",
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
