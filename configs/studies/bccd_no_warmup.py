"""Which losses bear a start without warm-up: learning rates up to sixteen times the usual.

python tools/study.py configs/studies/bccd_no_warmup.py
24 runs of about 2.5 minutes on 2 CPU cores. A grid like that of a search: nothing is tuned by it.
"""

_base_ = "bccd_search.py"

title = "BCCD: no warm-up"
seeds = [0, 1]
methods = {
    "_delete_": True,
    "CE": "bccd/retinanet_ce_lite0_bccd.py",
    "OHEM": "bccd/retinanet_ohem_lite0_bccd.py",
    "Focal Loss": "bccd/retinanet_focal_lite0_bccd.py",
    "GHM-C + GHM-R": "bccd/retinanet_ghm_lite0_bccd.py",
}
search = dict(lr=[0.01, 0.04, 0.16], loss_weight=[1])
options = {
    "_delete_": True,
    "param_scheduler": [
        dict(
            type="CosineAnnealingLR",
            begin=0,
            end=6,
            T_max=6,
            eta_min_ratio=0.01,
            by_epoch=True,
            convert_to_iter_based=True,
        )
    ],
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
