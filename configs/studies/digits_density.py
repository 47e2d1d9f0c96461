"""Which form of GHM-C: density per level or over the batch, moving average, exact, bounded, unit regions, ranks.

python tools/study.py configs/studies/digits_search.py configs/studies/digits_density.py
26 runs of about 40 s on a CPU core, those on two ranks of about a minute on two; all at the best setting that the
search found for GHM-C as released. Where one mean takes the place of the three levels' sum, the weight is three times
as large. On two ranks the total batch is 4 images as on one.
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


def on_ranks(method):
    return dict(method, ranks=2, options={**method["options"], "train_dataloader.batch_size": 2})


methods = {
    "_delete_": True,
    "level, moving average (released)": form(),
    "batch, moving average": form("batch"),
    "level, no moving average": form(momentum=0),
    "level, moving average corrected": form(debias=True),
    "level, exact": form(momentum=0, density="exact"),
    "batch, exact": form("batch", momentum=0, density="exact"),
    "level, max_weight 10": form(max_weight=10.0, loss_weight=80.0 / 3),
    # The ablation of the GHM paper; as released there are 30.
    **{f"{bins} bins": form(bins=bins) for bins in (5, 10, 20, 40)},
    "2 ranks of 2 images": on_ranks(form()),
    "2 ranks of 2 images, sync": on_ranks(form(sync=True)),
}
