"""RetinaNet R-50-FPN with GHM-C and GHM-R on COCO, 1x, the density counted over all GPUs.

bash tools/dist_train.sh configs/retinanet_ghm_r50_sync.py 8      8 GPUs x 2 images

For small batches on each GPU. No published figure: the released runs count on each GPU for itself.
"""

_base_ = "retinanet_ghm_r50.py"

model = dict(bbox_head=dict(loss_cls=dict(sync=True), loss_bbox=dict(sync=True)))
