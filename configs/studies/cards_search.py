"""The search that tunes cross-entropy and Focal Loss for the study on playing cards, on its own validation split.

python tools/study.py configs/studies/cards_search.py
6 runs of about 4 minutes on a CPU core. Weight 3 and lr 0.02 were tried with cross-entropy and were worse. For the data
see ../cards/retinanet_ce_lite0_cards.py.
"""

title = "Playing cards: the search, on train and val"
hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=10), dict(type="ghm_mmdet.OptimalBiasInitHook")]
focal = dict(_delete_=True, type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
methods = {
    "CE, optimal bias": dict(config="cards/retinanet_ce_lite0_cards.py", options=dict(custom_hooks=hooks)),
    "Focal Loss": dict(config="cards/retinanet_ce_lite0_cards.py", options={"model.bbox_head.loss_cls": focal}),
}
seeds = [100]
search = dict(lr=[0.0025, 0.005, 0.01], loss_weight=[1])
options = {
    "val_dataloader.dataset.ann_file": "val.json",
    "val_evaluator.ann_file": "work_dirs/cards/annotations/val.json",
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
del hooks, focal
