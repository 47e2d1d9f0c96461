"""Labels wrong in four ways at once, as in the UNA benchmark (arXiv 2312.13822), on digits with rare positives.

python tools/study.py configs/studies/digits_una.py
18 runs of about a minute on a CPU core, 529 logits to a positive, tested on the test handwriting. Each kind hits
20 % of the training boxes, independently of the others: missing, moved, of a wrong class, and a bogus box where nothing
is. lr and loss weight are those of robust_digits.py and, of OHEM and released GHM-C, the best of digits_search.py.
"""

_base_ = "robust_digits.py"

title = "Digits: labels wrong in four ways"
seeds = [1, 2, 3]
noise = [0.2]
damage = dict(kinds=["wrong class", "jittered box", "missing box", "bogus box"], each_kind=True)
reference = ["CE, optimal bias", "Focal Loss, weight 3"]
digits = "digits/retinanet_ce_lite0_digits.py"
methods = {
    "_delete_": True,
    **{name: _base_.methods[name] for name in ("CE, optimal bias", "Focal Loss, weight 3")},
    "OHEM": dict(
        config=digits,
        options={
            "optim_wrapper.optimizer.lr": 0.05,
            "model.bbox_head.type": "ghm_mmdet.OHEMRetinaHead",
            "model.bbox_head.num": 128,
            "model.bbox_head.ohem_iou_threshold": 0.7,
            "model.bbox_head.loss_cls.loss_weight": 3.0,
        },
    ),
    "GHM-C as released": dict(
        config=digits,
        options={
            "optim_wrapper.optimizer.lr": 0.005,
            "model.bbox_head.loss_cls": dict(
                _delete_=True, type="ghm_mmdet.GHMC", use_sigmoid=True, bins=30, momentum=0.75, loss_weight=3.0
            ),
        },
    ),
    **{
        name: _base_.methods[name]
        for name in ("GHM-C, robust + GHM-R, mu 0.1, weight 1", "CE above a threshold + GHM-R, mu 0.1, weight 1")
    },
}
scenes = {"_delete_": True, "4 objects, 10 classes, 128 px": _base_.scenes["4 objects, 10 classes, 128 px"]}
del digits
