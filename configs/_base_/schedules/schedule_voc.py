"""MMDetection's schedule for VOC, with 2,000 iterations of warm-up, as GHM's author has it, and clipped gradients."""

# The data is repeated 3 times, so that these are 12 epochs.
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=4, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=2000),
    dict(type="MultiStepLR", begin=0, end=4, by_epoch=True, milestones=[3], gamma=0.1),
]
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=35, norm_type=2),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
