"""RetinaNet R-50-FPN with GHM-C of 40 bins and smooth L1 on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_ghmc-bins40_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 35.4 AP (GHM paper).
"""

_base_ = "retinanet_ghmc-sl1_r50.py"

model = dict(bbox_head=dict(loss_cls=dict(bins=40)))
