"""The search that tunes the losses for the studies on BCCD: learning rate and weight of the classification loss.

python tools/study.py configs/studies/bccd_search.py
Trained on BCCD's train split and judged on its val split; 28 runs of about 1.7 minutes on 2 CPU cores.
"""

title = "BCCD: the search, on train and val"


def method(loss_cls=None, **head):
    head = {f"model.bbox_head.{key}": value for key, value in head.items()}
    loss_cls = {} if loss_cls is None else {"model.bbox_head.loss_cls": dict(loss_cls, _delete_=True, use_sigmoid=True)}
    return dict(config="bccd/retinanet_ce_lite0_bccd.py", options={**head, **loss_cls})


ghm_c = dict(type="ghm_mmdet.GHMC", bins=30, momentum=0.75)
ghm_r = dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, loss_weight=10.0)
methods = {
    "CE": method(),
    "alpha-CE": method(dict(type="ghm_mmdet.AlphaBalancedCrossEntropyLoss", alpha=0.75)),
    "OHEM": method(type="ghm_mmdet.OHEMRetinaHead", num=128, ohem_iou_threshold=0.7),
    "Focal Loss": method(dict(type="FocalLoss", gamma=2.0, alpha=0.25)),
    "FL*": method(dict(type="ghm_mmdet.FocalStarLoss", gamma=2.0, beta=1.0, alpha=0.25)),
    "GHM-C": method(ghm_c),
    "GHM-C + GHM-R": method(ghm_c, loss_bbox=ghm_r),
}
seeds = [100]
search = dict(lr=[0.01, 0.02], loss_weight=[1, 3])
options = {
    "train_dataloader.dataset.ann_file": "ImageSets/Main/train.txt",
    "val_dataloader.dataset.ann_file": "ImageSets/Main/val.txt",
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
del ghm_c, ghm_r
