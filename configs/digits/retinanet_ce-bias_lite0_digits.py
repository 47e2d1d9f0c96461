"""RetinaNet on EfficientNet-Lite0 with cross-entropy, its bias at the optimum from the start, on the digits.

python tools/make_digits.py && python tools/train.py configs/digits/retinanet_ce-bias_lite0_digits.py
2 CPU cores, batches of 4 images. At the setting that the search found; docs/results.md says what the bias gains there.

No published figure: this setting is ours.
"""

_base_ = "retinanet_ce_lite0_digits.py"

optim_wrapper = dict(optimizer=dict(lr=0.005))
model = dict(bbox_head=dict(loss_cls=dict(loss_weight=10.0)))
custom_hooks = [
    dict(type="ghm_mmdet.FiniteLossHook", interval=10),
    dict(type="ghm_mmdet.OptimalBiasInitHook"),
]
