"""PASCAL VOC 2007 + 2012 trainval for training, 2007 test for evaluation: VOC mAP and COCO's AP.

Read from $VOC_ROOT, or data/VOCdevkit. Any data in VOC's format will do, by way of the environment: $VOC_2007 and
$VOC_2012 are the folders below the root, "." for the root itself; $VOC_2012=none leaves the second one out.
$VOC_CLASSES names the classes, with commas.
"""

_base_ = "mmdet::_base_/datasets/voc0712.py"

data_root = "{{$VOC_ROOT:data/VOCdevkit}}/"
voc_2007 = "{{$VOC_2007:VOC2007}}/"
voc_2012 = "{{$VOC_2012:VOC2012}}/"
classes = "{{$VOC_CLASSES:aeroplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,diningtable,dog,horse,motorbike,person,pottedplant,sheep,sofa,train,tvmonitor}}"  # noqa: E501
metainfo = dict(classes=tuple(name.strip() for name in classes.split(",") if name.strip()))

train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            datasets=[
                dict(
                    part,
                    data_root=data_root,
                    ann_file=folder + "ImageSets/Main/trainval.txt",
                    data_prefix=dict(sub_data_root=folder),
                    metainfo=metainfo,
                    # mmdet's bbox_min_size=32 would leave small objects out of the training.
                    filter_cfg=dict(filter_empty_gt=True, min_size=32),
                )
                for part, folder in zip(_base_.train_dataloader.dataset.dataset.datasets, (voc_2007, voc_2012))
                if folder != "none/"
            ]
        )
    )
)

# CocoMetric makes its ground truth from the images' instances.
test_pipeline = _base_.test_pipeline
test_pipeline[-1].update(meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "instances"))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file=voc_2007 + "ImageSets/Main/test.txt",
        data_prefix=dict(sub_data_root=voc_2007),
        metainfo=metainfo,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
val_evaluator = [_base_.val_evaluator, dict(type="CocoMetric", metric="bbox")]
test_evaluator = val_evaluator
