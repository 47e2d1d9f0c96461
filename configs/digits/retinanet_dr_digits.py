"""A small RetinaNet with DR Loss on the digits.

python tools/train.py configs/digits/retinanet_dr_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_digits.py"

model = dict(
    bbox_head=dict(
        # DR Loss ranks, and needs no low prior: a score of one half at the start.
        init_cfg=dict(
            type="Normal",
            layer="Conv2d",
            std=0.01,
            override=dict(type="Normal", name="retina_cls", std=0.01, bias_prob=0.5),
        ),
        loss_cls=dict(_delete_=True, type="ghm_mmdet.DRLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(loss_weight=0.25),
    ),
    train_cfg=dict(assigner=dict(neg_iou_thr=0.5)),
)
