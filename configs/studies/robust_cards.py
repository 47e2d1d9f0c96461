"""The robust form of GHM-C on playing cards, six classes and one positive logit in about a thousand, a second real set.

python tools/study.py configs/studies/cards_search.py configs/studies/robust_cards.py
Runs of about 4 minutes on a CPU core, trained on train, tested on test. The robust form is not searched: lr and loss
weight are those of cross-entropy.
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
methods = {
    "GHM-C, robust + GHM-R, mu 0.1": dict(
        config="cards/retinanet_ghm-robust_lite0_cards.py", tuned_as="CE, optimal bias"
    ),
}
