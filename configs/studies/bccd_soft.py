"""GHM-R with a softer ASL1 (mu 0.1) beside GHM-C and beside cross-entropy, with clean and with damaged labels.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_soft.py
40 runs of about 2.5 minutes on 2 CPU cores, 24 of them those of bccd.py and bccd_noise.py. The classification losses at
their best settings with smooth L1; mu was chosen once, on other runs (bccd_ghm_r.py), and not searched.
"""

_base_ = "bccd.py"

title = "BCCD: GHM-R with mu 0.1"
noise = [0.0, 0.4]
reference = ["Focal Loss", "CE"]

ghm_r = dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.1, bins=10, momentum=0.7, loss_weight=10.0)
methods = {
    "_delete_": True,
    "CE": "bccd/retinanet_ce_lite0_bccd.py",
    "Focal Loss": "bccd/retinanet_focal_lite0_bccd.py",
    "GHM-C": "bccd/retinanet_ghmc_lite0_bccd.py",
    "CE + GHM-R, mu 0.1": dict(
        config="bccd/retinanet_ce_lite0_bccd.py", tuned_as="CE", options={"model.bbox_head.loss_bbox": ghm_r}
    ),
    "GHM-C + GHM-R, mu 0.1": dict(
        config="bccd/retinanet_ghm_lite0_bccd.py", tuned_as="GHM-C", options={"model.bbox_head.loss_bbox.mu": 0.1}
    ),
}
del ghm_r
