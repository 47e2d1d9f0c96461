"""GHM-R as a registered loss."""

from __future__ import annotations

from typing import Any

import torch

from ghm_mmdet import nn
from ghm_mmdet.errors import UserError
from ghm_mmdet.losses.backend_notice import BackendNotice
from ghm_mmdet.losses.known_arguments import refuse_unknown_arguments
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class GHMR(BackendNotice, nn.GHMR):
    """Gradient harmonizing regression loss for mmdet's configs, which is ``ghm_mmdet.nn.GHMR``.

    Heads that give their ``loss_bbox`` decoded boxes (YOLOF, YOLOX, ``reg_decoded_bbox=True``, those with an IoU loss)
    give it differences in pixels, of which nearly all lie in the last unit region. The first call in which that is seen
    raises an error.

    Args:
        in_pixels: whether boxes in pixels are meant, ``mu`` being in pixels too; the other arguments are those of
            ``ghm_mmdet.nn.GHMR``.

    Raises:
        ghm_mmdet.errors.UserError: in training, when targets are boxes in pixels and ``in_pixels`` is not set.
    """

    def __init__(self, *args: Any, in_pixels: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if not in_pixels:
            self._refusal = self.register_forward_pre_hook(_refuse_pixels, with_kwargs=True)

    def _built(self) -> None:
        super()._built()
        refuse_unknown_arguments(self)


def _refuse_pixels(module: GHMR, args: tuple, kwargs: dict) -> None:
    if not module.training or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return
    target = args[1] if len(args) > 1 else kwargs.get("target")
    weight = args[2] if len(args) > 2 else kwargs.get("label_weight", kwargs.get("weight"))
    if not isinstance(target, torch.Tensor) or target.dim() != 2 or target.shape[1] != 4 or not len(target):
        return
    if isinstance(weight, torch.Tensor) and weight.numel() in (len(target), target.numel()):
        target = target[(weight.reshape(len(target), -1) > 0).any(1)]
    if not len(target):
        return
    # One look, at the first samples that count: a corner below and right of the other, and numbers no delta has.
    module._refusal.remove()
    if bool((target[:, 2:] > target[:, :2]).all() & (target.max() > 16)):
        raise UserError(
            "GHMR was given boxes in pixels, and all its gradient norms would lie in the last unit region: this head "
            "decodes its boxes before the loss.\nKeep its own loss_bbox, set reg_decoded_bbox=False where the head has "
            "it, or say in_pixels=True with a mu in pixels."
        )
