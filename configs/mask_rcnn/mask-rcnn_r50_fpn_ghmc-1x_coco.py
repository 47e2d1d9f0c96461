"""Mask R-CNN R-50-FPN with GHM-C in the RPN, over all anchors, and softmax GHM-C in the RoI head on COCO, 1x.

bash tools/dist_train.sh configs/mask_rcnn/mask-rcnn_r50_fpn_ghmc-1x_coco.py 8
8 GPUs x 2 images, what lr 0.02 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure; with cross-entropy it has 38.2 box AP and 34.7 mask AP in MMDetection's model zoo.
"""

_base_ = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"

data_root = "{{$COCO_ROOT:data/coco}}/"
ghmc = dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, loss_weight=1.0)
model = dict(
    rpn_head=dict(type="ghm_mmdet.RPNHead", density_scope="batch", loss_cls=dict(use_sigmoid=True, **ghmc)),
    roi_head=dict(bbox_head=dict(loss_cls=dict(use_sigmoid=False, **ghmc))),
    train_cfg=dict(rpn=dict(sampler=dict(_delete_=True, type="PseudoSampler"))),
)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
