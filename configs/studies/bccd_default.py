"""BCCD at the settings that the losses come with: lr 0.01 and their own weights, nothing tuned.

python tools/study.py configs/studies/bccd_default.py
6 runs of about 2.5 minutes on 2 CPU cores.
"""

_base_ = "bccd.py"

title = "BCCD, nothing tuned"
tuned_by = None
seeds = [0, 1]
methods = {
    "_delete_": True,
    "CE": "bccd/retinanet_ce_lite0_bccd.py",
    "Focal Loss": "bccd/retinanet_focal_lite0_bccd.py",
    "GHM-C": "bccd/retinanet_ghmc_lite0_bccd.py",
}
