"""BCCD, blood cells in VOC's format: training on trainval, evaluation on test, images of 320 x 240.

Read from $BCCD_ROOT, or data/bccd: a clone of the public repository Shenggan/BCCD_Dataset, its folder BCCD.
"""

data_root = "{{$BCCD_ROOT:data/bccd}}/"
metainfo = dict(classes=("RBC", "WBC", "Platelets"), palette=[(214, 39, 40), (31, 119, 180), (255, 127, 14)])
image_size = (320, 240)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=image_size, keep_ratio=True),
    # Two boxes of the data have no area.
    dict(type="FilterAnnotations", min_gt_bbox_wh=(1, 1), keep_empty=False),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=image_size, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    # CocoMetric makes its ground truth from the images' instances.
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "instances")),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="XMLDataset",
        data_root=data_root,
        metainfo=metainfo,
        ann_file="ImageSets/Main/trainval.txt",
        data_prefix=dict(sub_data_root=""),
        img_subdir="JPEGImages",
        ann_subdir="Annotations",
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        train_dataloader["dataset"], ann_file="ImageSets/Main/test.txt", test_mode=True, pipeline=test_pipeline
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", metric="bbox", classwise=True)
test_evaluator = val_evaluator
