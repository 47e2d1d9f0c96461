"""RetinaNet on EfficientNet-Lite0 with cross-entropy and smooth L1, on playing cards: six classes, rare positives.

ghm-mmdet start data/cards/images --work-dir work_dirs/cards
python tools/train.py configs/cards/retinanet_ce_lite0_cards.py
2 CPU cores, batches of 4 images, 4 minutes. data/cards is a clone of the public repository
EdjeElectronics/TensorFlow-Object-Detection-API-Tutorial-Train-Multiple-Objects-Windows-10 (Apache License 2.0): 296
images to train on and 67 to test on. The first command writes their labels in COCO's format, and a validation split.

No published figure: nobody else has run this.
"""

_base_ = "../_base_/retinanet_lite0_custom.py"

data = dict(
    data_root="work_dirs/cards/annotations/",
    data_prefix=dict(img="../../../data/cards/images/"),
    metainfo=dict(classes=("ace", "jack", "king", "nine", "queen", "ten")),
)
train_dataloader = dict(dataset=dict(ann_file="train.json", **data))
val_dataloader = dict(dataset=dict(ann_file="test.json", **data))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="work_dirs/cards/annotations/test.json")
test_evaluator = val_evaluator
model = dict(bbox_head=dict(num_classes=6))
optim_wrapper = dict(optimizer=dict(lr=0.005))
del data
max_epochs = 8
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
warm_up, cosine = _base_.param_scheduler
param_scheduler = [warm_up, dict(cosine, end=max_epochs, T_max=max_epochs)]
del warm_up, cosine
