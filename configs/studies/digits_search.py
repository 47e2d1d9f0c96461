"""The search that tunes the losses for the studies on digits: learning rate and weight of the classification loss.

python tools/study.py configs/studies/digits_search.py
Trained and judged on scenes of four digits with ten classes, the val split's handwriting; 72 runs of about 40 s on a
CPU core. GHM-C runs twice: as released, and with bounded weights and one density for all levels.
"""

title = "Digits: the search"


def method(loss_cls=None, **head):
    head = {f"model.bbox_head.{key}": value for key, value in head.items()}
    loss_cls = {} if loss_cls is None else {"model.bbox_head.loss_cls": dict(loss_cls, _delete_=True, use_sigmoid=True)}
    return dict(config="digits/retinanet_ce_lite0_digits.py", options={**head, **loss_cls})


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
    "GHM-C, bounded": method(dict(ghm_c, max_weight=10.0, loss_weight=80.0), density_scope="batch"),
}


# Small digits for small images; the digits beyond the number of classes are left out.
common = dict(object_size=[18, 40], num_train=400, num_val=100, num_test=100)
scenes = {
    "4 objects, 10 classes, 128 px": dict(common, image_size=[128, 128], objects_per_image=[4, 4], num_classes=10),
}
seeds = [100]
search = dict(lr=[0.005, 0.02, 0.05], loss_weight=[1, 3, 10])
options = {
    "train_cfg.max_epochs": 3,
    "train_cfg.val_interval": 3,
    "param_scheduler.1.end": 3,
    "param_scheduler.1.T_max": 3,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
del ghm_c, ghm_r, common
