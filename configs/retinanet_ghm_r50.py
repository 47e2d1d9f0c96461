"""RetinaNet R-50-FPN with GHM-C and GHM-R on COCO, 1x.

python tools/train.py configs/retinanet_ghm_r50.py            one GPU, --auto-scale-lr
bash tools/dist_train.sh configs/retinanet_ghm_r50.py 8       8 GPUs x 2 images, what lr 0.01 is meant for

The data is read from $COCO_ROOT, or data/coco/. Published: 37.0 box AP (MMDetection model zoo).
"""

_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"

data_root = "{{$COCO_ROOT:data/coco}}/"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, loss_weight=10.0),
    )
)
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
