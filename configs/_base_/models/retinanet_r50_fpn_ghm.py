"""RetinaNet R-50-FPN with GHM-C and GHM-R, as released."""

_base_ = "mmdet::_base_/models/retinanet_r50_fpn.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, loss_weight=10.0),
    )
)
