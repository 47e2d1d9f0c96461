"""RetinaNet R-50-FPN with OHEM (the 128 hardest anchors of each image) on VOC 2007 without warm-up.

bash tools/dist_train.sh configs/voc/retinanet_ohem_r50_no-warmup_voc07.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure.
"""

_base_ = "retinanet_ohem_r50_voc07.py"

param_scheduler = _base_.param_scheduler[1:]
