"""The search that tunes cross-entropy and Focal Loss for the study on circuit boards, on its own validation split.

python tools/study.py configs/studies/deeppcb_search.py
6 runs of about 7 minutes on a CPU core. For the data see ../deeppcb/retinanet_ce_lite0_deeppcb.py.
"""

_base_ = "cards_search.py"

title = "Circuit boards: the search, on train and val"
methods = {name: dict(config="deeppcb/retinanet_ce_lite0_deeppcb.py") for name in ("CE, optimal bias", "Focal Loss")}
search = dict(lr=[0.005, 0.01, 0.02])
options = {
    "val_dataloader.dataset.ann_file": "annotations/val.json",
    "val_evaluator.ann_file": "data/deeppcb/annotations/val.json",
}
