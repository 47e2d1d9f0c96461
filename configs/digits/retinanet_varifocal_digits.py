"""A small RetinaNet with Varifocal Loss, a positive's target being the IoU of its box, on the digits.

python tools/train.py configs/digits/retinanet_varifocal_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "retinanet_ce_digits.py"

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
