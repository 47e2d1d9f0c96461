"""Faster R-CNN R-50-FPN with an adversary that occludes features of its regions, A-Fast-RCNN's, on COCO, 1x.

bash tools/dist_train.sh configs/faster_rcnn/faster-rcnn_r50_fpn_a-fast-rcnn-1x_coco.py 8
8 GPUs x 2 images, what lr 0.02 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure.

With --cfg-options:
- the adversary stays as it is once it has learned; no published figure
  model.roi_head.policy=fixed find_unused_parameters=True
- no adversary, the window found by trying all; no published figure
  model.roi_head.policy=window
"""

_base_ = "faster-rcnn_r50_fpn_1x_coco.py"

# The adversary has about two epochs to learn before it occludes.
model = dict(roi_head=dict(type="ghm_mmdet.AdversarialDropoutRoIHead", policy="joint", pretrain_steps=15000))
