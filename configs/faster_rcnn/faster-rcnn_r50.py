"""Faster R-CNN R-50-FPN on COCO, 1x.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_r50.py 8
8 GPUs x 2 images, what lr 0.02 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 37.4 AP (MMDetection model zoo).
"""

_base_ = "../_base_/faster-rcnn_r50_coco.py"
