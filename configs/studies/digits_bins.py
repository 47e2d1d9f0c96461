"""The ablation of the GHM paper: the number of GHM-C's unit regions.

python tools/study.py configs/studies/digits_search.py configs/studies/digits_bins.py
10 runs of about 40 s on a CPU core, at the best setting that the search found for GHM-C as released.
"""

_base_ = "digits_density.py"

title = "Digits: number of unit regions"
reference = "30 bins"
methods = {
    f"{bins} bins": dict(
        config="digits/retinanet_ce_lite0_digits.py",
        tuned_as="GHM-C",
        options={
            "model.bbox_head.loss_cls": dict(
                _delete_=True, type="ghm_mmdet.GHMC", bins=bins, momentum=0.75, use_sigmoid=True
            )
        },
    )
    for bins in (5, 10, 20, 30, 40)
}
methods["_delete_"] = True
