"""RetinaNet R-50-FPN with GHM-C and GHM-R on COCO, 1x, in mixed precision.

bash tools/dist_train.sh configs/retinanet_ghm_r50_amp.py 8      8 GPUs x 2 images

The losses are computed in float32 all the same. The bound on the weights is far above those of a healthy run, in which
a region of COCO's millions of samples has hundreds; it keeps one outlier alone in its region from costing as much as
all the others together. A loss that is no longer a number ends the run. No published figure.
"""

_base_ = "retinanet_ghm_r50.py"

model = dict(bbox_head=dict(loss_cls=dict(max_weight=1e4), loss_bbox=dict(max_weight=1e2)))
optim_wrapper = dict(type="AmpOptimWrapper", loss_scale="dynamic")
custom_hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=50)]
