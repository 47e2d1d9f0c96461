"""As retinanet_r50_coco.py, with the smooth L1 of the papers for the boxes, to compare classification losses."""

_base_ = "retinanet_r50_coco.py"

model = dict(bbox_head=dict(loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0)))
