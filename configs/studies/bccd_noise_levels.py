"""BCCD with clean labels, and with 20 % and 40 % of the training labels damaged: two seeds of each.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_noise_levels.py
42 runs of about 2.5 minutes on 2 CPU cores, 28 of them those of bccd.py and bccd_noise.py.
"""

_base_ = "bccd.py"

title = "BCCD: how much of the labels is damaged"
noise = [0.0, 0.2, 0.4]
seeds = [0, 1]
reference = ["Focal Loss", "CE"]
