"""BCCD with 40 % of the training labels damaged, tested on the test split as it is.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_noise.py
28 runs of about 2.5 minutes on 2 CPU cores.
"""

_base_ = "bccd.py"

title = "BCCD with 40 % of the labels damaged"
noise = [0.4]
