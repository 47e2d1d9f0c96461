"""RetinaNet R-101-FPN with GHM-C and GHM-R on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_ghm_r101.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 39.1 AP (MMDetection model zoo).
"""

_base_ = "../retinanet_ghm_r50.py"

model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint="torchvision://resnet101")))
