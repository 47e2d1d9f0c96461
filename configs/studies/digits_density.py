"""Which form of GHM-C: density per level or over the batch, moving average off, on and corrected, exact, bounded.

python tools/study.py configs/studies/digits_search.py configs/studies/digits_density.py
14 runs of about 40 s on a CPU core, all at the best setting that the search found for GHM-C as released; where one mean
takes the place of the three levels' sum, the weight is three times as large.
"""

_base_ = "digits_imbalance.py"

title = "Digits: forms of GHM-C"
reference = "level, moving average (released)"
scenes = {"_delete_": True, **{name: _base_.scenes[name] for name in ["4 objects, 10 classes, 128 px"]}}


def form(density_scope="level", **changes):
    scope = {} if density_scope == "level" else {"model.bbox_head.density_scope": density_scope}
    loss_cls = dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True)
    if density_scope == "batch":
        loss_cls["loss_weight"] = 3.0
    return dict(
        config="digits/retinanet_ce_lite0_digits.py",
        tuned_as="GHM-C",
        options={**scope, "model.bbox_head.loss_cls": {**loss_cls, **changes}},
    )


methods = {
    "_delete_": True,
    "level, moving average (released)": form(),
    "batch, moving average": form("batch"),
    "level, no moving average": form(momentum=0),
    "level, moving average corrected": form(debias=True),
    "level, exact": form(momentum=0, density="exact"),
    "batch, exact": form("batch", momentum=0, density="exact"),
    "level, max_weight 10": form(max_weight=10.0, loss_weight=80.0 / 3),
}
