"""BCCD with 20 % and 40 % of the training labels damaged, tested on the test split as it is.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_noise.py
56 runs of about 2.5 minutes on 2 CPU cores.
"""

_base_ = "bccd.py"

title = "BCCD with damaged labels"
noise = [0.4, 0.2]
