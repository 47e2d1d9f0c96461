"""A small Faster R-CNN with OHEM in the RoI head on the digits.

python tools/train.py configs/digits/faster-rcnn_ohem_digits.py
One CPU, batches of 8 images; the data: python tools/make_digits.py

No published figure: the data is this project's.
"""

_base_ = "faster-rcnn_digits.py"

model = dict(train_cfg=dict(rcnn=dict(sampler=dict(type="OHEMSampler"))))
