"""The robust form of GHM-C on circuit boards, six kinds of tiny defects, a third real set.

python tools/study.py configs/studies/deeppcb_search.py configs/studies/robust_deeppcb.py
12 runs of about 7 minutes on a CPU core, trained on train, tested on test. The robust form is not searched: lr and loss
weight are those of cross-entropy.
"""

_base_ = "robust_cards.py"

title = "Circuit boards: the robust form of GHM-C"
tuned_by = "deeppcb_search"
noise = [0.0]
methods = {
    **{name: dict(config="deeppcb/retinanet_ce_lite0_deeppcb.py") for name in ("CE, optimal bias", "Focal Loss")},
    "GHM-C, robust + GHM-R, mu 0.1": dict(config="deeppcb/retinanet_ce_lite0_deeppcb.py"),
    "CE above a threshold + GHM-R, mu 0.1": dict(
        config="deeppcb/retinanet_threshold-ghmr_lite0_deeppcb.py",
        # The default, which the rows were trained with in writing.
        options={"model.bbox_head.density_scope": "level"},
    ),
}
