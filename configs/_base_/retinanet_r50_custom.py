"""RetinaNet R-50-FPN on a data set of one's own, images of 800 pixels: what `ghm-mmdet start` takes on a GPU."""

_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "datasets/custom_detection.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
]

image_size = (1333, 800)
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[2].update(scale=image_size)
test_pipeline[1].update(scale=image_size)
train_dataloader = dict(num_workers=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

model = dict(bbox_head=dict(type="ghm_mmdet.RetinaHead"))
optim_wrapper = dict(clip_grad=dict(max_norm=35, norm_type=2))
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=1, max_keep_ckpts=2))
custom_hooks = [dict(type="ghm_mmdet.FiniteLossHook", interval=50)]
randomness = dict(seed=0)
