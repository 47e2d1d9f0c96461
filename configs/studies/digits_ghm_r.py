"""Losses of the boxes on digits with 529 logits to a positive, clean and with boxes moved: GHM-R, smooth L1, GIoU.

python tools/study.py configs/studies/digits_ghm_r.py
40 runs of about a minute on a CPU core, tested on the test split's handwriting, all with the robust form of GHM-C.
"""

_base_ = "robust_digits.py"

title = "Digits: losses of the boxes"
seeds = [1, 2, 3, 4]
noise = [0.0, 0.4]
damage = dict(kinds=["jittered box"])
reference = ["smooth L1", "GHM-R, mu 0.1"]


def boxes(loss_bbox=None, **head):
    head = {f"model.bbox_head.{key}": value for key, value in head.items()}
    loss_bbox = {} if loss_bbox is None else {"model.bbox_head.loss_bbox": dict(loss_bbox, _delete_=True)}
    robust = _base_.methods["GHM-C, robust"]
    return dict(robust, options={**robust["options"], **head, **loss_bbox})


ghm_r = dict(type="ghm_mmdet.GHMR", bins=10, momentum=0.7, loss_weight=10.0)
methods = {
    "_delete_": True,
    "smooth L1": boxes(),
    "GIoU": boxes(dict(type="GIoULoss", loss_weight=2.0), reg_decoded_bbox=True),
    "GHM-R, mu 0.02 (released)": boxes(dict(ghm_r, mu=0.02)),
    "GHM-R, mu 0.1": boxes(dict(ghm_r, mu=0.1)),
    "GHM-R, mu auto": boxes(dict(ghm_r, mu="auto")),
}
scenes = {"_delete_": True, "4 objects, 10 classes, 128 px": _base_.scenes["4 objects, 10 classes, 128 px"]}
del ghm_r
