"""Whether the gain of FL* is weight decay's, which holds logits small: both forms of it and of cross-entropy.

python tools/study.py configs/studies/digits_search.py configs/studies/digits_weight_decay.py
32 runs of about 50 s on a CPU core, at the best settings that the search found for CE and for FL* with decay 1e-4.

FL* differs from cross-entropy in the slope gamma of the sigmoid, which scales the logits, in its shift beta, and in
alpha. Weight decay leaves scaled logits more room. If the gain is its doing, then cross-entropy gains as much by scaled
logits, or by decay 0, and FL* without the slope loses it. These runs are short: it takes decay 0.01 to come near
what 1e-4 does over a 1x schedule on COCO.
"""

_base_ = "digits_density.py"

title = "Digits: FL*, cross-entropy and weight decay"
reference = ["CE, decay 0.0001", "FL*, decay 0.0001"]
loss = dict(_delete_=True, type="ghm_mmdet.FocalStarLoss", use_sigmoid=True)
# FL* with beta 0 and alpha 1/2, counted twice, is cross-entropy of gamma times the logits, divided by gamma.
losses = {
    "CE": dict(loss, gamma=1.0, beta=0.0, alpha=0.5, loss_weight=2.0),
    "CE, logits x 2": dict(loss, gamma=2.0, beta=0.0, alpha=0.5, loss_weight=2.0),
    "FL*": dict(loss, gamma=2.0, beta=1.0, alpha=0.25),
    "FL*, logits x 1": dict(loss, gamma=1.0, beta=1.0, alpha=0.25),
}
methods = {
    f"{name}, decay {decay:g}": dict(
        config="digits/retinanet_ce_lite0_digits.py",
        tuned_as=name.partition(",")[0],
        options={"model.bbox_head.loss_cls": each, "optim_wrapper.optimizer.weight_decay": decay},
    )
    for name, each in losses.items()
    for decay in (0.0, 0.0001, 0.001, 0.01)
}
methods["_delete_"] = True
del loss, losses
