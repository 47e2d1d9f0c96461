"""RetinaNet R-50-FPN with OHEM (the 128 hardest anchors of each image) on VOC 2007.

bash tools/dist_train.sh configs/voc/retinanet_ohem_r50_voc07.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

No published figure.
"""

_base_ = "retinanet_ohem_r50_voc0712.py"

# 20 epochs: a few more than on both years, as there are a third of the images.
train_dataloader = dict(
    dataset=dict(times=5, dataset=dict(datasets=_base_.train_dataloader.dataset.dataset.datasets[:1]))
)
