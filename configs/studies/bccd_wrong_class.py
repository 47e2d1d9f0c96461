"""BCCD with nothing but wrong classes, as many as bccd.py has at 40 % damaged labels.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_wrong_class.py
4 runs of about 2.5 minutes on 2 CPU cores.
"""

_base_ = "bccd.py"

title = "BCCD with wrong classes"
noise = [0.4 / 3]
damage = dict(kinds=["wrong class"])
seeds = [0, 1]
reference = "CE"
methods = {"_delete_": True, **{name: _base_.methods[name] for name in ("CE", "GHM-C")}}
