"""RetinaNet R-50-FPN with Focal Loss and smooth L1 on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_focal-sl1_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 35.6 AP (GHM paper).
"""

_base_ = "../_base_/retinanet_r50_sl1_coco.py"
