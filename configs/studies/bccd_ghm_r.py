"""What GHM-R costs on little data: its released weight of 10, less of it, and a softer ASL1, against smooth L1.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_ghm_r.py
10 runs of about 2.5 minutes on 2 CPU cores. GHM-C at its best setting in all of them.
"""

_base_ = "bccd.py"

title = "BCCD: forms of GHM-R"
seeds = [0, 1]
reference = "smooth L1"


def form(name, **loss_bbox):
    """A method of the search, GHM-C at its best setting, with changes to its loss of boxes."""
    method = _base_.methods[name]
    changes = {f"model.bbox_head.loss_bbox.{key}": value for key, value in loss_bbox.items()}
    return dict(method, tuned_as="GHM-C", options={**method["options"], **changes})


methods = {
    "_delete_": True,
    "smooth L1": form("GHM-C"),
    "GHM-R, weight 10 (released)": form("GHM-C + GHM-R"),
    "GHM-R, weight 3": form("GHM-C + GHM-R", loss_weight=3.0),
    "GHM-R, weight 1": form("GHM-C + GHM-R", loss_weight=1.0),
    "GHM-R, mu 0.1": form("GHM-C + GHM-R", mu=0.1),
}
