"""Which losses bear a start without warm-up: from the middle learning rate of the search to sixteen times that.

python tools/study.py configs/studies/digits_no_warmup.py
48 runs of about 40 s on a CPU core. A grid like that of a search: nothing is tuned by it.
"""

_base_ = "digits_search.py"

title = "Digits: no warm-up"
seeds = [0, 1]
search = dict(_delete_=True, lr=[0.02, 0.08, 0.32], loss_weight=[1])
options = {
    "param_scheduler": [
        dict(
            type="CosineAnnealingLR",
            begin=0,
            end=3,
            T_max=3,
            eta_min_ratio=0.01,
            by_epoch=True,
            convert_to_iter_based=True,
        )
    ],
}
