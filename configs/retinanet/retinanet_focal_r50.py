"""RetinaNet R-50-FPN with Focal Loss and L1 on COCO, 1x: MMDetection's own settings.

bash tools/dist_train.sh configs/retinanet/retinanet_focal_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 36.5 AP (MMDetection model zoo).
"""

_base_ = "../_base_/retinanet_r50_coco.py"
