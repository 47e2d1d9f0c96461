"""Faster R-CNN R-50-FPN on VOC 2007 + 2012.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_r50_voc0712.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 79.5 mAP, without warm-up (MMDetection model zoo).
"""

_base_ = "../_base_/faster-rcnn_r50_voc0712.py"
