"""An argument that only the loss of one head knows is refused in words."""

from __future__ import annotations

import copy

import pytest
import torch

from ghm_mmdet.errors import UserError
from ghm_mmdet.losses import GHMC, GHMR, ASL1Loss, DRLoss, FocalStarLoss, OHEMLoss


@pytest.mark.parametrize("kind", [GHMC, GHMR, DRLoss, FocalStarLoss, OHEMLoss, ASL1Loss])
def test_an_unknown_argument_is_named(kind):
    loss = copy.deepcopy(kind())
    with pytest.raises(UserError, match=f"{kind.__name__} is given pos_inds, which .* Keep the head's own"):
        loss(torch.zeros(2, 4), torch.zeros(2, 4), pos_inds=torch.zeros(1), avg_factor=1.0)
