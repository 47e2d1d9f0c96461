"""Faster R-CNN R-50-FPN with GHM-C and the optimal bias in the RPN on COCO, 1x.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_rpn-ghmc-bias_r50.py 8
8 GPUs x 2 images, what lr 0.02 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure.
"""

_base_ = "faster-rcnn_rpn-ghmc_r50.py"

custom_hooks = [dict(type="ghm_mmdet.OptimalBiasInitHook")]
