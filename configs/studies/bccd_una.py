"""Labels wrong in four ways at once, as in the UNA benchmark (arXiv 2312.13822), on BCCD.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_una.py
9 runs of about 3 minutes on a CPU core. Each kind hits 20 % of the training boxes, independently of the others:
missing, moved, of a wrong class, and a bogus box where nothing is. Settings are those of robust_bccd.py.
"""

_base_ = "robust_bccd.py"

title = "BCCD: labels wrong in four ways"
seeds = [1, 2, 3]
noise = [0.2]
damage = dict(kinds=["wrong class", "jittered box", "missing box", "bogus box"], each_kind=True)
reference = ["CE", "Focal Loss"]
methods = {
    "_delete_": True,
    **{name: _base_.methods[name] for name in ("CE", "Focal Loss", "GHM-C, robust + GHM-R, mu 0.1, weight 1")},
}
