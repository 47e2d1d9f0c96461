"""DINO R-50, 4 scales, with GHM-C on COCO, 12 epochs.

bash tools/dist_train.sh configs/dino/dino-4scale_r50_ghmc-12e_coco.py 8
8 GPUs x 2 images, what lr 0.0001 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure; with Focal Loss it has 49.0 box AP in MMDetection's model zoo.
"""

_base_ = "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py"

data_root = "{{$COCO_ROOT:data/coco}}/"
# One loss serves the encoder, six decoder layers and the denoising: no moving average over what differs so much.
loss_cls = dict(type="ghm_mmdet.GHMC", use_sigmoid=True, momentum=0.0, normalize="positives", max_weight=10.0)
model = dict(bbox_head=dict(loss_cls=dict(_delete_=True, **loss_cls)))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
