"""TOOD R-50-FPN with GHM-C on COCO, 1x.

bash tools/dist_train.sh configs/tood/tood_r50_fpn_ghmc-1x_coco.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure; with its own Quality Focal Loss it has 42.4 box AP in MMDetection's model zoo.
"""

_base_ = "mmdet::tood/tood_r50_fpn_1x_coco.py"

data_root = "{{$COCO_ROOT:data/coco}}/"
# TOOD's head gives probabilities. The first four epochs keep their Focal Loss, initial_loss_cls.
loss_cls = dict(type="ghm_mmdet.GHMC", use_sigmoid=True, activated=True, normalize="positives", max_weight=10.0)
model = dict(bbox_head=dict(type="ghm_mmdet.TOODHead", density_scope="batch", loss_cls=dict(_delete_=True, **loss_cls)))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
