"""RetinaNet R-50-FPN with DR Loss on COCO, 1x.

bash tools/dist_train.sh configs/retinanet/retinanet_r50_fpn_dr-1x_coco.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

Published: 37.4 box AP. Source: DR Loss' released code.
"""

_base_ = "retinanet_r50_fpn_1x_coco.py"

# As in the released code: no anchor is ignored, a score of one half at the start, and a box loss that is a mean over
# the four coordinates; detections from a score of 0.2.
model = dict(
    bbox_head=dict(
        type="ghm_mmdet.RetinaHead",
        density_scope="batch",
        init_cfg=dict(
            type="Normal",
            layer="Conv2d",
            std=0.01,
            override=dict(type="Normal", name="retina_cls", std=0.01, bias_prob=0.5),
        ),
        loss_cls=dict(_delete_=True, type="ghm_mmdet.DRLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=0.25),
    ),
    train_cfg=dict(assigner=dict(neg_iou_thr=0.5)),
    test_cfg=dict(score_thr=0.2),
)
