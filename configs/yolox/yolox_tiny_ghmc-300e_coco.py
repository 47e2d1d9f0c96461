"""YOLOX-tiny with GHM-C for its objectness on COCO, 300 epochs.

bash tools/dist_train.sh configs/yolox/yolox_tiny_ghmc-300e_coco.py 8
8 GPUs x 8 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure; with cross-entropy it has 32.0 box AP in MMDetection's model zoo.
"""

_base_ = "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py"

data_root = "{{$COCO_ROOT:data/coco}}/"
# The objectness sees all places of an image, the classification positives alone. YOLOX divides the sum itself.
loss_obj = dict(type="ghm_mmdet.GHMC", use_sigmoid=True, reduction="sum", normalize="positives", max_weight=10.0)
model = dict(bbox_head=dict(loss_obj=dict(_delete_=True, **loss_obj)))
train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root)))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
