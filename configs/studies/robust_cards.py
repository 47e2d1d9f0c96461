"""The robust form of GHM-C, and the threshold, on playing cards: six classes, one positive in about a thousand logits.

python tools/study.py configs/studies/cards_search.py configs/studies/robust_cards.py
Runs of about 4 minutes on a CPU core, trained on train, tested on test. Both are not searched: lr and loss weight are
those of cross-entropy.
"""

_base_ = "cards_search.py"

title = "Playing cards: the robust form of GHM-C"
tuned_by = "cards_search"
search = None
seeds = [1, 2, 3]
noise = [0.0, 0.4]
reference = ["CE, optimal bias", "Focal Loss"]
options = {
    "_delete_": True,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False,
}
ghm_r = dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.1, bins=10, momentum=0.7, loss_weight=10.0)
robust = {
    "model.bbox_head.density_scope": "batch",
    "model.bbox_head.loss_cls": dict(
        _delete_=True,
        type="ghm_mmdet.GHMC",
        use_sigmoid=True,
        bins=30,
        momentum=0.75,
        max_weight=10.0,
        normalize="positives",
        loss_weight=1.0,
    ),
    "model.bbox_head.loss_bbox": ghm_r,
}
methods = {
    "GHM-C, robust + GHM-R, mu 0.1": dict(
        config="cards/retinanet_ce_lite0_cards.py", options=robust, tuned_as="CE, optimal bias"
    ),
    "CE above a threshold + GHM-R, mu 0.1": dict(
        config="cards/retinanet_threshold-ghmr_lite0_cards.py", tuned_as="CE, optimal bias"
    ),
}
del ghm_r, robust
