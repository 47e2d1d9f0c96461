"""RetinaNet X-101-32x4d-FPN with GHM-C and GHM-R on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_ghm_x101-32x4d.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 40.7 AP (MMDetection model zoo).
"""

_base_ = "../retinanet_ghm_r50.py"

model = dict(
    backbone=dict(
        type="ResNeXt",
        depth=101,
        groups=32,
        base_width=4,
        init_cfg=dict(checkpoint="open-mmlab://resnext101_32x4d"),
    )
)
