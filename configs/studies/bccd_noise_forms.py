"""What GHM-C loses to damaged labels, and whether another form of it loses less: 40 % damaged, tested on clean labels.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_noise_forms.py
6 runs of about 2.5 minutes on 2 CPU cores. All at the best setting that the search found for GHM-C. Where one mean
takes the place of the three levels' sum, the weight is three times as large; where the weights are bounded, it is as
large as makes the positives weigh what they weigh in cross-entropy.
"""

_base_ = "bccd.py"

title = "BCCD with damaged labels: forms of GHM-C"
noise = [0.4]
seeds = [0, 1]
reference = "released"


def form(loss_cls=None, **head):
    method = _base_.methods["GHM-C"]
    changes = {f"model.bbox_head.{key}": value for key, value in head.items()}
    changes |= {f"model.bbox_head.loss_cls.{key}": value for key, value in (loss_cls or {}).items()}
    return dict(method, tuned_as="GHM-C", options={**method["options"], **changes})


methods = {
    "_delete_": True,
    "released": form(),
    "batch": form(dict(loss_weight=3.0), density_scope="batch"),
    "max_weight 10": form(dict(max_weight=10.0, loss_weight=80.0)),
}
