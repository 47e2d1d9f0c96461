"""RTMDet-tiny with GHM-C on COCO, 300 epochs.

bash tools/dist_train.sh configs/rtmdet/rtmdet_tiny_ghmc-300e_coco.py 8
8 GPUs x 32 images, what lr 0.004 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure; with its own Quality Focal Loss it has 40.9 box AP in MMDetection's model zoo.
"""

_base_ = "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py"

data_root = "{{$COCO_ROOT:data/coco}}/"
# RTMDet gives its loss labels with scores, and the sum of the scores as avg_factor.
loss_cls = dict(type="ghm_mmdet.GHMC", use_sigmoid=True, normalize="positives", max_weight=10.0)
model = dict(
    bbox_head=dict(type="ghm_mmdet.RTMDetSepBNHead", density_scope="batch", loss_cls=dict(_delete_=True, **loss_cls))
)
# In the first steps the scores are near 0 and the loss, divided by their sum, is a hundred times what it is later. Adam
# would remember it for hundreds of steps.
optim_wrapper = dict(clip_grad=dict(max_norm=5, norm_type=2))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/instances_val2017.json")
test_evaluator = val_evaluator
# mmdet's config has 16 here, by its 1x schedule.
auto_scale_lr = dict(base_batch_size=256)
