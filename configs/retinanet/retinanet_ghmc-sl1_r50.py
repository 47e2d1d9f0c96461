"""RetinaNet R-50-FPN with GHM-C of 30 bins and smooth L1 on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_ghmc-sl1_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 35.8 AP (GHM paper).
"""

_base_ = "../_base_/retinanet_r50_sl1_coco.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0),
    )
)
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
