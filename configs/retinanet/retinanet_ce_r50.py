"""RetinaNet R-50-FPN with cross-entropy, its bias at a prior of 0.01, on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_ce_r50.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 28.6 AP (GHM paper); 30.2 at 600 px (Focal Loss paper).
"""

_base_ = "../_base_/retinanet_r50_sl1_coco.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
    )
)
