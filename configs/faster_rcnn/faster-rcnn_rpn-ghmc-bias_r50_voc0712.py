"""Faster R-CNN R-50-FPN with GHM-C and the optimal bias in the RPN on VOC 2007 + 2012.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_rpn-ghmc-bias_r50_voc0712.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure.
"""

_base_ = "faster-rcnn_rpn-ghmc_r50_voc0712.py"

custom_hooks = [dict(type="ghm_mmdet.OptimalBiasInitHook")]
