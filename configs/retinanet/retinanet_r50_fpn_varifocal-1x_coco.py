"""RetinaNet R-50-FPN with Varifocal Loss, a positive's target being the IoU of its box, on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_r50_fpn_varifocal-1x_coco.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 37.4 box AP. Source: Varifocal Loss paper, by second-hand notes.
"""

_base_ = "retinanet_r50_fpn_1x_coco.py"

model = dict(
    bbox_head=dict(
        # Its soft labels with alpha 1 and nothing else are what Varifocal Loss wants.
        type="ghm_mmdet.NoisyAnchorRetinaHead",
        alpha=1.0,
        gamma=0.0,
        rescale=False,
        loss_cls=dict(
            _delete_=True,
            type="VarifocalLoss",
            use_sigmoid=True,
            alpha=0.75,
            gamma=2.0,
            iou_weighted=True,
            loss_weight=1.0,
        ),
    )
)
