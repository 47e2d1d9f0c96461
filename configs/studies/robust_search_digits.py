"""The search for what the robust form of GHM-C is to beat on digits, and how much the robust form minds lr and weight.

python tools/study.py configs/studies/robust_search_digits.py
Judged on the val split's handwriting, one seed. The factors 3, 10 and 30 multiply a weight of 1 (cross-entropy), 0.1
(Focal Loss, threshold) and 0.3 (robust form): 3 and 0.3 and 0.9, 10 and 1 and 3, 30 and 3 and 9.
"""

_base_ = "digits_search.py"

title = "Digits: the search beside the robust form"


def method(loss_cls, options=None, **head):
    head = {f"model.bbox_head.{key}": value for key, value in head.items()}
    loss_cls = {"model.bbox_head.loss_cls": dict(loss_cls, _delete_=True, use_sigmoid=True)}
    return dict(config="digits/retinanet_ce_lite0_digits.py", options={**head, **loss_cls, **(options or {})})


hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=10), dict(type="ghm_mmdet.OptimalBiasInitHook")]
ghm_c = dict(type="ghm_mmdet.GHMC", bins=30, momentum=0.75, max_weight=10.0, normalize="positives", loss_weight=0.3)
threshold = dict(type="ghm_mmdet.ThresholdCrossEntropyLoss", loss_weight=0.1)
ghm_r = dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.1, bins=10, momentum=0.7, loss_weight=10.0)
methods = {
    "_delete_": True,
    "CE, optimal bias": method(dict(type="CrossEntropyLoss", loss_weight=1.0), dict(custom_hooks=hooks)),
    "Focal Loss": method(dict(type="FocalLoss", gamma=2.0, alpha=0.25, loss_weight=0.1)),
    "GHM-C, robust": method(ghm_c, density_scope="batch"),
    **{
        f"CE above 1/{part} + GHM-R, mu 0.1": method(dict(threshold, threshold=1.0 / part), loss_bbox=ghm_r)
        for part in (100, 30, 10, 5)
    },
}
search = dict(_delete_=True, lr=[0.0006, 0.0017, 0.005, 0.015, 0.02], loss_weight=[3, 10, 30])
common = dict(object_size=[18, 40], num_train=400, num_val=100, num_test=100)
scenes = {
    "_delete_": True,
    "4 objects, 10 classes, 128 px": dict(common, image_size=[128, 128], objects_per_image=[4, 4], num_classes=10),
    "2 objects, 10 classes, 192 px": dict(common, image_size=[192, 192], objects_per_image=[2, 2], num_classes=10),
}
del hooks, ghm_c, ghm_r, threshold, common
