"""RetinaNet on EfficientNet-Lite0 with the robust form of GHM-C, and GHM-R with a softer ASL1, on the digits.

python tools/make_digits.py && python tools/train.py configs/digits/retinanet_ghm-robust_lite0_digits.py
2 CPU cores, batches of 4 images.

For rare positives and wrong labels, at cross-entropy's own learning rate. See docs/studies/robust.md for what is
shown of it and what is not.
No published figure: this setting is ours.
"""

_base_ = "retinanet_ce_lite0_digits.py"

optim_wrapper = dict(optimizer=dict(lr=0.005))
model = dict(
    bbox_head=dict(
        density_scope="batch",
        loss_cls=dict(
            _delete_=True,
            type="ghm_mmdet.GHMC",
            bins=30,
            momentum=0.75,
            use_sigmoid=True,
            max_weight=10.0,
            normalize="positives",
            loss_weight=1.0,
        ),
        loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.1, bins=10, momentum=0.7, loss_weight=10.0),
    )
)
