"""RetinaNet on EfficientNet-Lite0 with GHM-C of bounded weights, one density for all levels, on the digits.

python tools/make_digits.py && python tools/train.py configs/digits/retinanet_ghmc-bounded_lite0_digits.py
2 CPU cores, batches of 4 images. For rare positives and little data, at the setting that the search found.
docs/results.md says what it gains over GHM-C as released.

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
            loss_weight=240.0,
        ),
    )
)
