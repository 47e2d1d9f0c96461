"""What GHM-R costs on little data: its released weight of 10, less of it, and a softer ASL1, against smooth L1.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_ghm_r.py
10 runs of about 2.5 minutes on 2 CPU cores. GHM-C at its best setting in all of them.
"""

_base_ = "bccd.py"

title = "BCCD: forms of GHM-R"
seeds = [0, 1]
reference = "smooth L1"


def form(config, **options):
    return dict(config=config, tuned_as="GHM-C", options=options)


ghm = "bccd/retinanet_ghm_lite0_bccd.py"
methods = {
    "_delete_": True,
    "smooth L1": form("bccd/retinanet_ghmc_lite0_bccd.py"),
    "GHM-R, weight 10 (released)": form(ghm),
    "GHM-R, weight 3": form(ghm, **{"model.bbox_head.loss_bbox.loss_weight": 3.0}),
    "GHM-R, weight 1": form(ghm, **{"model.bbox_head.loss_bbox.loss_weight": 1.0}),
    "GHM-R, mu 0.1": form(ghm, **{"model.bbox_head.loss_bbox.mu": 0.1}),
}
del ghm
