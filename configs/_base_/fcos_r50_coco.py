"""FCOS R-50-FPN on COCO, 1x, with Focal Loss: MMDetection's settings, the data read from $COCO_ROOT, or data/coco."""

_base_ = "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"

data_root = "{{$COCO_ROOT:data/coco}}/"
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
