"""Faster R-CNN on EfficientNet-Lite0 on the digits, its RPN with cross-entropy over all anchors.

python tools/make_digits.py && python tools/train.py configs/digits/faster-rcnn_lite0_digits.py
2 CPU cores, batches of 4 images. The study of the RPN's bias starts from it, see configs/studies/digits_rpn_bias.py.

No published figure: the data is this project's.
"""

_base_ = "faster-rcnn_digits.py"

norm_cfg = dict(type="GN", num_groups=16, requires_grad=True)
model = dict(
    data_preprocessor=dict(mean=[127.0] * 3, std=[128.0] * 3),
    backbone=dict(_delete_=True, type="ghm_mmdet.EfficientNetLite0", frozen_blocks=5),
    neck=dict(in_channels=[40, 112, 320], norm_cfg=norm_cfg),
    rpn_head=dict(type="ghm_mmdet.RPNHead", density_scope="batch"),
    train_cfg=dict(rpn=dict(sampler=dict(_delete_=True, type="PseudoSampler"))),
)
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(_delete_=True, type="SGD", lr=0.02, momentum=0.9, weight_decay=0.0001))
auto_scale_lr = dict(enable=False, base_batch_size=4)
