"""RetinaNet R-50-FPN with GHM-C and GHM-R on COCO, 1x, in mixed precision.

bash tools/dist_train.sh configs/ghm/retinanet_r50_fpn_ghm-amp-1x_coco.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

The losses are computed in float32 all the same. The bounds on the weights leave alone whatever the density of one batch
of 2 images gives: a single positive at the start weighs up to 9e5 on COCO's images, one element alone in its region
later 7e5. They cut what the start of the moving average, and regions that are hardly ever filled, make of it, up to 4
times as much. A loss that is no longer a number ends the run.

No published figure.
"""

_base_ = "../retinanet_ghm_r50.py"

model = dict(bbox_head=dict(loss_cls=dict(max_weight=1e6), loss_bbox=dict(max_weight=1.5e3)))
optim_wrapper = dict(type="AmpOptimWrapper", loss_scale="dynamic")
custom_hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=50)]
