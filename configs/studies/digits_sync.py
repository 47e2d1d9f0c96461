"""GHM-C on one rank, and on two whose regions are counted by each alone or by both together (sync).

python tools/study.py configs/studies/digits_search.py configs/studies/digits_sync.py
6 runs of about a minute on 2 CPU cores, one at a time; the total batch is 4 images in all of them.
"""

_base_ = "digits_density.py"

title = "Digits: GHM-C on two ranks"
reference = "1 rank of 4 images"


def on_ranks(ranks, sync):
    loss_cls = dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True)
    if sync:
        loss_cls["sync"] = True
    options = {"model.bbox_head.loss_cls": loss_cls}
    if ranks > 1:
        options["train_dataloader.batch_size"] = 4 // ranks
    return dict(config="digits/retinanet_ce_lite0_digits.py", tuned_as="GHM-C", ranks=ranks, options=options)


methods = {
    "_delete_": True,
    "1 rank of 4 images": on_ranks(1, sync=False),
    "2 ranks of 2 images": on_ranks(2, sync=False),
    "2 ranks of 2 images, sync": on_ranks(2, sync=True),
}
