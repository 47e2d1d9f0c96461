import pytest
import torch
from mmdet.registry import MODELS

from ghm_mmdet.functional.dr import dr_loss
from ghm_mmdet.losses import DRLoss

PRED = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 4


def test_module_equals_function():
    options = dict(margin=0.3, pos_lambda=0.5, neg_lambda=0.2, slope=3.0, tau=2.0)
    loss = MODELS.build(dict(type="ghm_mmdet.DRLoss", use_sigmoid=True, loss_weight=1.7, **options))
    weight = (LABELS != 1).float()
    expected = 1.7 * dr_loss(PRED, LABELS, weight, **options)
    assert type(loss) is DRLoss and loss.use_sigmoid is True and "slope=3.0" in repr(loss)
    for override in (None, "mean", "sum"):
        torch.testing.assert_close(loss(PRED, LABELS, weight, avg_factor=7, reduction_override=override), expected)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("use_sigmoid must be True", lambda: DRLoss(use_sigmoid=False)),
        ("loss_weight must be", lambda: DRLoss(loss_weight=-1)),
        ("pos_lambda must be", lambda: DRLoss(pos_lambda=0)),
        ("no loss of each sample", lambda: DRLoss()(PRED, LABELS, reduction_override="none")),
        ("reduction_override must be one of", lambda: DRLoss()(PRED, LABELS, reduction_override="total")),
    ],
)
def test_bad_arguments_are_named(message, call):
    with pytest.raises(ValueError, match=message):
        call()
