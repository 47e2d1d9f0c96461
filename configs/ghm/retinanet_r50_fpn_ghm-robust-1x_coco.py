"""RetinaNet R-50-FPN with the robust form of GHM-C, and GHM-R with a softer ASL1, on COCO, 1x.

bash tools/dist_train.sh configs/ghm/retinanet_r50_fpn_ghm-robust-1x_coco.py 8
8 GPUs x 2 images, what lr 0.01 is meant for (fewer: tools/train.py with --auto-scale-lr)

For rare positives and wrong labels; never trained on COCO. docs/studies/robust.md says what is shown of it elsewhere.

No published figure.
"""

_base_ = "../retinanet_ghm_r50.py"

model = dict(
    bbox_head=dict(
        type="ghm_mmdet.RetinaHead",
        density_scope="batch",
        loss_cls=dict(max_weight=10.0, normalize="positives"),
        loss_bbox=dict(mu=0.1),
    )
)
