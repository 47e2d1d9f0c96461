"""RetinaNet on EfficientNet-Lite0 with cross-entropy and smooth L1, on circuit boards: six kinds of tiny defects.

python tools/dataset_converters/deeppcb.py data/deeppcb
python tools/train.py configs/deeppcb/retinanet_ce_lite0_deeppcb.py
2 CPU cores, batches of 4 images, 6 minutes. data/deeppcb is a clone of the public repository tangsanli5201/DeepPCB (MIT
License; its README asks for use in research only). The first command writes its labels in COCO's format: 900 images to
train on, 100 for validation, and the 500 of its own test list.

No published figure: nobody else has run this.
"""

_base_ = "../_base_/retinanet_lite0_custom.py"

data = dict(
    data_root="data/deeppcb/",
    data_prefix=dict(img="PCBData/"),
    metainfo=dict(classes=("open", "short", "mousebite", "spur", "copper", "pin-hole")),
)
train_dataloader = dict(dataset=dict(ann_file="annotations/train.json", **data))
val_dataloader = dict(dataset=dict(ann_file="annotations/test.json", **data))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="data/deeppcb/annotations/test.json")
test_evaluator = val_evaluator
# Anchors of 16 to 101 pixels, as `ghm-mmdet start` chooses them for these boxes.
model = dict(
    bbox_head=dict(num_classes=6, anchor_generator=dict(octave_base_scale=2, ratios=[0.61, 0.92, 1.3])),
)
del data
max_epochs = 2
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
warm_up, cosine = _base_.param_scheduler
param_scheduler = [warm_up, dict(cosine, end=max_epochs, T_max=max_epochs)]
del warm_up, cosine
