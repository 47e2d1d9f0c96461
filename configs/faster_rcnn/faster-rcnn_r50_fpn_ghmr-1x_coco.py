"""Faster R-CNN R-50-FPN with GHM-R in RPN and RoI head on COCO, 1x.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_r50_fpn_ghmr-1x_coco.py 8
8 GPUs x 2 images, what lr 0.02 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 37.4 box AP. Source: GHM paper.
"""

_base_ = "faster-rcnn_r50_fpn_1x_coco.py"

model = dict(
    rpn_head=dict(
        type="ghm_mmdet.RPNHead",
        density_scope="batch",
        loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, loss_weight=1.0),
    ),
    roi_head=dict(
        bbox_head=dict(
            loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, loss_weight=1.0)
        )
    ),
)
