"""RetinaNet R-50-FPN with GHM-C and GHM-R, the density over all levels, on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_ghm-batch_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure.
The losses are means: one over all levels in place of the sum of five.
"""

_base_ = "../retinanet_ghm_r50.py"

model = dict(bbox_head=dict(type="ghm_mmdet.RetinaHead", density_scope="batch"))
