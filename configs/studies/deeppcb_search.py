"""The search that tunes cross-entropy and Focal Loss for the study on circuit boards, on its own validation split.

python tools/study.py configs/studies/deeppcb_search.py
Runs of about 7 minutes on a CPU core. For the data see ../deeppcb/retinanet_ce_lite0_deeppcb.py.
"""

title = "Circuit boards: the search, on train and val"
hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=10), dict(type="ghm_mmdet.OptimalBiasInitHook")]
focal = dict(_delete_=True, type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
methods = {
    "CE, optimal bias": dict(config="deeppcb/retinanet_ce_lite0_deeppcb.py", options=dict(custom_hooks=hooks)),
    "Focal Loss": dict(config="deeppcb/retinanet_ce_lite0_deeppcb.py", options={"model.bbox_head.loss_cls": focal}),
}
seeds = [100]
search = dict(lr=[0.005, 0.01, 0.02], loss_weight=[1])
options = {
    "val_dataloader.dataset.ann_file": "annotations/val.json",
    "val_evaluator.ann_file": "data/deeppcb/annotations/val.json",
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
del hooks, focal
