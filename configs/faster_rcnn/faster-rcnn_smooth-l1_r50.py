"""Faster R-CNN R-50-FPN with smooth L1 on COCO, 1x.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_smooth-l1_r50.py 8
8 GPUs x 2 images, what lr 0.02 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 36.4 AP (GHM paper).
"""

_base_ = "../_base_/faster-rcnn_r50_coco.py"

model = dict(
    rpn_head=dict(loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0)),
    roi_head=dict(bbox_head=dict(loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=1.0, loss_weight=1.0))),
)
