"""Faster R-CNN R-50-FPN with S-OHEM in the RoI head on COCO, 1x.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_s-ohem_r50.py 8
8 GPUs x 2 images, what lr 0.02 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure.
"""

_base_ = "../_base_/faster-rcnn_r50_coco.py"

model = dict(train_cfg=dict(rcnn=dict(sampler=dict(_delete_=True, type="ghm_mmdet.StratifiedOHEMSampler", num=512))))
