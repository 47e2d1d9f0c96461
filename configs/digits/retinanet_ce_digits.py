"""A small RetinaNet with cross-entropy and smooth L1 on the digits.

python tools/train.py configs/digits/retinanet_ce_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure.

With --cfg-options:
- Varifocal Loss, a positive's target being the IoU of its box; no published figure
  model.bbox_head.type=ghm_mmdet.NoisyAnchorRetinaHead model.bbox_head.alpha=1.0 model.bbox_head.gamma=0.0
  model.bbox_head.rescale=False model.bbox_head.loss_cls._delete_=True model.bbox_head.loss_cls.type=VarifocalLoss
  model.bbox_head.loss_cls.use_sigmoid=True
"""

_base_ = "../retinanet_ghm_digits.py"

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=0.11, loss_weight=1.0),
    )
)
