"""Which form of GHM-C: density per level or over the batch, moving average off, on and corrected, exact density.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_density.py
12 runs of about 2.5 minutes on 2 CPU cores, with smooth L1, all at the best setting that the search found for GHM-C;
where one mean takes the place of the three levels' sum, the weight is three times as large.
"""

_base_ = "bccd.py"

title = "BCCD: forms of GHM-C"
seeds = [0, 1]
reference = "level, moving average (released)"


def form(**options):
    return dict(
        config="bccd/retinanet_ghmc_lite0_bccd.py",
        tuned_as="GHM-C",
        options={f"model.bbox_head.{key.replace('__', '.')}": value for key, value in options.items()},
    )


batch = dict(density_scope="batch", loss_cls__loss_weight=3.0)
no_average = dict(loss_cls__momentum=0)
methods = {
    "_delete_": True,
    "level, moving average (released)": form(),
    "batch, moving average": form(**batch),
    "level, no moving average": form(**no_average),
    "level, moving average corrected": form(loss_cls__debias=True),
    "level, exact": form(**no_average, loss_cls__density="exact"),
    "batch, exact": form(**batch, **no_average, loss_cls__density="exact"),
}
del batch, no_average
