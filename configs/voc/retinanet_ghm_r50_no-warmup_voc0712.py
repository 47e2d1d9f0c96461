"""RetinaNet R-50-FPN with GHM-C and GHM-R on VOC 2007 + 2012 without warm-up.

bash tools/dist_train.sh configs/voc/retinanet_ghm_r50_no-warmup_voc0712.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure. An article on the GHM author's talk says that GHM stays stable on VOC 2007 with little warm-up
where Focal Loss does not; the author himself asks for 2,000 iterations for both.
"""

_base_ = "retinanet_ghm_r50_voc0712.py"

param_scheduler = _base_.param_scheduler[1:]
