"""Faster R-CNN R-50-FPN with Balanced L1 in the RoI head on COCO, 1x.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_balanced-l1_r50.py 8
8 GPUs x 2 images, what lr 0.02 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure; the whole of Libra R-CNN has 38.3 AP (MMDetection model zoo).
"""

_base_ = "../_base_/faster-rcnn_r50_coco.py"

model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_bbox=dict(_delete_=True, type="BalancedL1Loss", alpha=0.5, gamma=1.5, beta=1.0, loss_weight=1.0)
        )
    )
)
