"""The RPN of a small Faster R-CNN on the digits alone, to measure the recall of its proposals, AR@100.

python tools/train.py configs/digits/rpn_digits.py
python tools/test.py configs/digits/rpn_digits.py work_dirs/faster-rcnn_digits/epoch_N.pth
One CPU, batches of 8 images; the data: python tools/make_digits.py. The second command takes a Faster R-CNN's weights.

No published figure: the data is this project's.
"""

_base_ = "faster-rcnn_digits.py"

model = dict(
    _delete_=True,
    type="RPN",
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    rpn_head=_base_.model.rpn_head,
    train_cfg=dict(rpn=_base_.model.train_cfg.rpn),
    test_cfg=dict(rpn=_base_.model.test_cfg.rpn),
)
val_evaluator = dict(metric="proposal")
test_evaluator = val_evaluator
