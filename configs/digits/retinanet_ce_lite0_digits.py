"""RetinaNet on EfficientNet-Lite0 with cross-entropy and smooth L1 on the digits.

python tools/make_digits.py && python tools/train.py configs/digits/retinanet_ce_lite0_digits.py
2 CPU cores, batches of 4 images. The studies of imbalance start from it, see configs/studies/digits_imbalance.py.

No published figure: the data is this project's.
"""

_base_ = [
    "../_base_/models/retinanet_lite0_fpn.py",
    "../_base_/datasets/digits_detection.py",
    "../_base_/schedules/schedule_6e.py",
]

model = dict(
    bbox_head=dict(
        num_classes=10,
        anchor_generator=dict(scales_per_octave=2, ratios=[1.4]),
    ),
)
train_dataloader = dict(batch_size=4)
