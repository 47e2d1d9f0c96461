"""A small Faster R-CNN with GHM-C, over all anchors, and the optimal bias in the RPN on the digits.

python tools/train.py configs/digits/faster-rcnn_rpn-ghmc-bias_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure.

With --cfg-options:
- the bias as mmdet has it; no published figure
  custom_hooks=[]
"""

_base_ = "faster-rcnn_digits.py"

model = dict(
    rpn_head=dict(
        type="ghm_mmdet.RPNHead",
        density_scope="batch",
        loss_cls=dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0),
    ),
    train_cfg=dict(rpn=dict(sampler=dict(_delete_=True, type="PseudoSampler"))),
)
custom_hooks = [dict(type="ghm_mmdet.OptimalBiasInitHook")]
