"""Losses of the boxes on BCCD, clean and with boxes moved: GHM-R, smooth L1, GIoU.

python tools/study.py configs/studies/bccd_search.py configs/studies/bccd_ghm_r.py
40 runs of about 2.5 minutes on 2 CPU cores, all with the robust form of GHM-C at loss weight 1.
"""

_base_ = "robust_bccd.py"

title = "BCCD: losses of the boxes"
seeds = [1, 2, 3, 4]
noise = [0.0, 0.4]
damage = dict(kinds=["jittered box"])
reference = ["smooth L1", "GHM-R, mu 0.1"]


def boxes(loss_bbox=None, **head):
    """The robust form of GHM-C at the weight of 1, with another loss of the boxes."""
    robust = _base_.methods["GHM-C, robust"]
    head = {f"model.bbox_head.{key}": value for key, value in head.items()}
    loss_cls = dict(robust["options"]["model.bbox_head.loss_cls"], loss_weight=1.0 / 3.0)
    loss_bbox = {} if loss_bbox is None else {"model.bbox_head.loss_bbox": dict(loss_bbox, _delete_=True)}
    options = {**robust["options"], "model.bbox_head.loss_cls": loss_cls, **head, **loss_bbox}
    return dict(robust, options=options)


ghm_r = dict(type="ghm_mmdet.GHMR", bins=10, momentum=0.7, loss_weight=10.0)
methods = {
    "_delete_": True,
    "smooth L1": boxes(),
    "GIoU": boxes(dict(type="GIoULoss", loss_weight=2.0), reg_decoded_bbox=True),
    "GHM-R, mu 0.02 (released)": boxes(dict(ghm_r, mu=0.02)),
    "GHM-R, mu 0.1": boxes(dict(ghm_r, mu=0.1)),
    "GHM-R, mu auto": boxes(dict(ghm_r, mu="auto")),
}
del ghm_r
