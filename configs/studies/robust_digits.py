"""The robust form of GHM-C on digits with rare and rarer positives, clean and with 40 % of the labels damaged.

python tools/study.py configs/studies/digits_search.py configs/studies/robust_digits.py
Runs of 40 to 90 s on a CPU core, tested on the test split's handwriting. lr and loss weight of cross-entropy and
Focal Loss are the best of their searches with 529 and with 2,325 logits to a positive; with 529 Focal Loss also has the
next best, and what is best with 2,325. The robust form is not searched.
"""

_base_ = "digits_imbalance.py"

title = "Digits: the robust form of GHM-C"
tuned_by = None
seeds = [1, 2, 3, 4, 5, 6]
noise = [0.0, 0.4]
reference = ["CE, optimal bias", "Focal Loss", "Focal Loss, weight 3"]


def method(lr, loss_cls, options=None, **head):
    head = {f"model.bbox_head.{key}": value for key, value in head.items()}
    loss_cls = {"model.bbox_head.loss_cls": dict(loss_cls, _delete_=True, use_sigmoid=True)}
    return dict(
        config="digits/retinanet_ce_lite0_digits.py",
        options={"optim_wrapper.optimizer.lr": lr, **head, **loss_cls, **(options or {})},
    )


hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=10), dict(type="ghm_mmdet.OptimalBiasInitHook")]
ghm_c = dict(type="ghm_mmdet.GHMC", bins=30, momentum=0.75, max_weight=10.0, normalize="positives", loss_weight=3.0)
ghm_r = dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.1, bins=10, momentum=0.7, loss_weight=10.0)
methods = {
    "_delete_": True,
    "CE": method(0.005, dict(type="CrossEntropyLoss", loss_weight=10.0)),
    "CE, optimal bias": method(0.005, dict(type="CrossEntropyLoss", loss_weight=10.0), dict(custom_hooks=hooks)),
    "Focal Loss": method(0.005, dict(type="FocalLoss", gamma=2.0, alpha=0.25, loss_weight=1.0)),
    "Focal Loss, lr 0.02": method(0.02, dict(type="FocalLoss", gamma=2.0, alpha=0.25, loss_weight=1.0)),
    "Focal Loss, weight 3": method(0.005, dict(type="FocalLoss", gamma=2.0, alpha=0.25, loss_weight=3.0)),
    "GHM-C, robust": method(0.005, ghm_c, density_scope="batch"),
    "GHM-C, robust + GHM-R, mu 0.1": method(0.005, ghm_c, density_scope="batch", loss_bbox=ghm_r),
    "CE, optimal bias, lr 0.0017": method(
        0.0017, dict(type="CrossEntropyLoss", loss_weight=10.0), dict(custom_hooks=hooks)
    ),
    "GHM-C, robust + GHM-R, mu 0.1, lr 0.0017": method(0.0017, ghm_c, density_scope="batch", loss_bbox=ghm_r),
    "GHM-C, robust + GHM-R, mu 0.1, weight 1": method(
        0.005, dict(ghm_c, loss_weight=1.0), density_scope="batch", loss_bbox=ghm_r
    ),
    "GHM-C, robust + GHM-R, mu 0.1, weight 1, lr 0.0017": method(
        0.0017, dict(ghm_c, loss_weight=1.0), density_scope="batch", loss_bbox=ghm_r
    ),
    # A factor of 3 on its settings.
    "GHM-C, robust + GHM-R, mu 0.1, weight 0.33": method(
        0.005, dict(ghm_c, loss_weight=0.33), density_scope="batch", loss_bbox=ghm_r
    ),
    "GHM-C, robust + GHM-R, mu 0.1, weight 1, lr 0.015": method(
        0.015, dict(ghm_c, loss_weight=1.0), density_scope="batch", loss_bbox=ghm_r
    ),
    **{
        f"CE above a threshold + GHM-R, mu 0.1, {name}": method(
            lr, dict(type="ghm_mmdet.ThresholdCrossEntropyLoss", loss_weight=loss_weight), loss_bbox=ghm_r
        )
        for name, lr, loss_weight in (
            ("weight 1, lr 0.015", 0.015, 1.0),
            ("weight 3", 0.005, 3.0),
            ("weight 0.33", 0.005, 0.33),
        )
    },
    # The control: what the density adds; and the form in between, bounded so low that the crowd alone is below it.
    **{
        f"{name} + GHM-R, mu 0.1, weight 1{rate}": method(lr, loss_cls, loss_bbox=ghm_r, **scope)
        for name, loss_cls, scope in (
            ("CE above a threshold", dict(type="ghm_mmdet.ThresholdCrossEntropyLoss", loss_weight=1.0), {}),
            (
                "GHM-C, robust, max_weight 1",
                dict(ghm_c, loss_weight=1.0, max_weight=1.0),
                dict(density_scope="batch"),
            ),
        )
        for rate, lr in (("", 0.005), (", lr 0.0017", 0.0017))
    },
}
common = dict(object_size=[18, 40], num_train=400, num_val=100, num_test=100)
scenes = {
    "_delete_": True,
    "4 objects, 10 classes, 128 px": dict(common, image_size=[128, 128], objects_per_image=[4, 4], num_classes=10),
    "2 objects, 10 classes, 192 px": dict(common, image_size=[192, 192], objects_per_image=[2, 2], num_classes=10),
}
del hooks, ghm_c, ghm_r, common
