"""A small Faster R-CNN with an adversary that occludes features of its regions, A-Fast-RCNN's, on the digits.

python tools/train.py configs/digits/faster-rcnn_a-fast-rcnn_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure.

With --cfg-options:
- the adversary stays as it is once it has learned; no published figure
  model.roi_head.policy=fixed find_unused_parameters=True
- no adversary, the window found by trying all; no published figure
  model.roi_head.policy=window
"""

_base_ = "faster-rcnn_digits.py"

# Of 1,750 steps; the learning rate is AdamW's.
model = dict(roi_head=dict(type="ghm_mmdet.AdversarialDropoutRoIHead", policy="joint", pretrain_steps=500))
