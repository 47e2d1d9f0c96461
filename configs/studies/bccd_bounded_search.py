"""The search for GHM-C with bounded weights on BCCD, on the grid of bccd_search.py, beside those it is compared with.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_bounded_search.py
16 runs of about 1.7 minutes on 2 CPU cores, 12 of them those of bccd_search.py. The weight of 20 makes a positive weigh
what it weighs in cross-entropy: max_weight over the 189 logits to a positive, times 20, is about 1.
"""

_base_ = "bccd_search.py"

title = "BCCD: the search for GHM-C with bounded weights"
methods = {
    "_delete_": True,
    **{name: _base_.methods[name] for name in ("CE", "Focal Loss", "GHM-C")},
    "GHM-C, bounded": dict(
        config="bccd/retinanet_ghmc_lite0_bccd.py",
        options={
            "model.bbox_head.density_scope": "batch",
            "model.bbox_head.loss_cls.max_weight": 10.0,
            "model.bbox_head.loss_cls.loss_weight": 20.0,
        },
    ),
}
