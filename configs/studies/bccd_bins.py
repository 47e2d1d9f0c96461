"""The ablation of the GHM paper: the number of GHM-C's unit regions.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_bins.py
10 runs of about 2.5 minutes on 2 CPU cores, at the best setting that the search found for GHM-C.
"""

_base_ = "bccd.py"

title = "BCCD: number of unit regions"
seeds = [0, 1]
reference = "30 bins"
methods = {
    f"{bins} bins": dict(
        config="bccd/retinanet_ghmc_lite0_bccd.py",
        tuned_as="GHM-C",
        options={"model.bbox_head.loss_cls.bins": bins},
    )
    for bins in (5, 10, 20, 30, 40)
}
methods["_delete_"] = True
