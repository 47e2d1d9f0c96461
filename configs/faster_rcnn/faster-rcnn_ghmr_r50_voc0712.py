"""Faster R-CNN R-50-FPN with GHM-R in RPN and RoI head on VOC 2007 + 2012.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_ghmr_r50_voc0712.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure.
"""

_base_ = "../_base_/faster-rcnn_r50_voc0712.py"

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
