"""Digits with a share of each kind of label noise, as the UNA benchmark has it (arXiv 2312.13822).

python tools/study.py configs/studies/digits_una.py
Runs of about 60 s on a CPU core, tested on the test split's handwriting. Missing, moved, wrong class and bogus boxes,
each at the share of the boxes, one on top of the other. lr and loss weight are the best of searches on clean labels.
"""

_base_ = "robust_digits.py"

title = "Digits: each kind of label noise, as in UNA"
seeds = [1, 2, 3]
noise = [0.1, 0.2, 0.4]
damage = dict(kinds=["missing box", "jittered box", "wrong class", "bogus box"], each_kind=True)
ohem = dict(
    config="digits/retinanet_ce_lite0_digits.py",
    options={
        "model.bbox_head.type": "ghm_mmdet.OHEMRetinaHead",
        "model.bbox_head.num": 128,
        "model.bbox_head.ohem_iou_threshold": 0.7,
        "optim_wrapper.optimizer.lr": 0.05,
        "model.bbox_head.loss_cls.loss_weight": 3.0,
    },
)
released = dict(
    config="digits/retinanet_ce_lite0_digits.py",
    options={
        "model.bbox_head.loss_cls": dict(
            _delete_=True, type="ghm_mmdet.GHMC", use_sigmoid=True, bins=30, momentum=0.75, loss_weight=3.0
        ),
    },
)
methods = {
    "_delete_": True,
    **{
        name: _base_.methods[name]
        for name in ("CE, optimal bias", "Focal Loss, weight 3", "GHM-C, robust + GHM-R, mu 0.1, weight 1")
    },
    "OHEM": ohem,
    "GHM-C (released)": released,
}
reference = ["CE, optimal bias", "Focal Loss, weight 3"]
scenes = {"_delete_": True, "4 objects, 10 classes, 128 px": _base_.scenes["4 objects, 10 classes, 128 px"]}
del ohem, released
