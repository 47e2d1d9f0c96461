"""The gradient density over one level of the feature pyramid or over all of them."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable
from typing import Any

import torch
from mmdet.models.dense_heads import AnchorHead
from mmdet.models.dense_heads import ATSSHead as MMDetATSSHead
from mmdet.models.dense_heads import GFLHead as MMDetGFLHead
from mmdet.models.dense_heads import RetinaHead as MMDetRetinaHead
from mmdet.models.dense_heads import RPNHead as MMDetRPNHead
from mmdet.models.dense_heads import RTMDetHead as MMDetRTMDetHead
from mmdet.models.dense_heads import RTMDetSepBNHead as MMDetRTMDetSepBNHead
from mmdet.models.dense_heads import TOODHead as MMDetTOODHead
from torch import Tensor

from ghm_mmdet.heads.gathered_calls import gathered_calls
from ghm_mmdet.heads.merged_levels import merge_levels
from ghm_mmdet.registry import MODELS


class DensityScopeMixin:
    """Gives an anchor head of mmdet the option ``density_scope``.

    mmdet's anchor heads call their losses once for each level of the feature pyramid. GHM then counts the density of
    one level. All levels share one moving average of the counts, which is updated once per level: a small level is
    weighed by counts that are mostly those of the large ones, and has far less to say; ``average="shares"`` of GHMC
    repairs it.
    With ``density_scope="batch"`` a loss is called once over the anchors of all levels and images, as the GHM paper
    (arXiv:1811.05181) has it, which speaks of the mini-batch: one count, one update of the moving average. Under
    distributed training it is the mini-batch of one GPU. GHM's losses become about as many times smaller as there are
    levels with anchors in play, since each is a mean; losses that divide by an ``avg_factor`` stay what they are.

    For a head of your own, put the mixin first::

        @MODELS.register_module()
        class MyGARetinaHead(DensityScopeMixin, GARetinaHead):
            pass

    It fits anchor heads that compute their losses in ``loss_by_feat_single``, once per level, from feature maps and
    values of anchors alone, as AnchorHead, RetinaHead, RPNHead, GuidedAnchorHead and ATSSHead do. Of heads that need
    the stride of a level for its boxes, as RTMDet, TOOD and GFL do, ``loss_cls`` alone is called over all levels.

    Args:
        density_scope: ``"level"``, what mmdet does and released models were trained with, or ``"batch"``.

    Raises:
        ValueError: ``density_scope`` is neither, or ``loss_cls`` takes its default for ``use_sigmoid``, which the head
            cannot see: mmdet's heads read it from the config, with another default.
        TypeError: the head is no AnchorHead, or, in training with ``"batch"``, does not compute its losses as said
            above.
    """

    def __init__(self, *args: Any, density_scope: str = "level", **kwargs: Any):
        if density_scope not in ("level", "batch"):
            raise ValueError(f"density_scope must be 'level' or 'batch', got {density_scope!r}")
        if not isinstance(self, AnchorHead):
            raise TypeError(
                f"density_scope is an option of mmdet's AnchorHead, whose loss is computed level by level, and "
                f"{type(self).__name__} is no AnchorHead. Leave the option out: heads without anchors, such as "
                f"FCOSHead, compute their loss over all levels anyway"
            )
        self.loss_cls: Any
        super().__init__(*args, **kwargs)
        use_sigmoid = getattr(self.loss_cls, "use_sigmoid", self.use_sigmoid_cls)
        if use_sigmoid != self.use_sigmoid_cls:
            raise ValueError(
                f"{type(self.loss_cls).__name__} is built with use_sigmoid={use_sigmoid}, but its config does not say "
                f"so, and {type(self).__name__} would give it the wrong number of logits: write "
                f"use_sigmoid={use_sigmoid} into loss_cls"
            )
        self.density_scope = density_scope
        loss_of_level = super().loss_by_feat_single  # type: ignore[misc]  # of mmdet's head beside the mixin
        self._needs_stride = "stride" in inspect.signature(loss_of_level).parameters
        self._levels: list[tuple] = []
        self._num_levels = 0

    def loss_of_anchors(self, *args: Any, **kwargs: Any) -> Iterable[Tensor]:
        """The losses over the anchors of one level, or of all of them merged; the arguments are mmdet's."""
        return super().loss_by_feat_single(*args, **kwargs)  # type: ignore[misc]  # of mmdet's head beside the mixin

    def loss_by_feat_single(self, *args: Any, **kwargs: Any) -> Iterable[Tensor]:
        """Called by mmdet once per level; with batch scope the last call returns the losses of all levels."""
        if hasattr(self.loss_cls, "num_images"):
            # OHEMLoss(per_image=True) cannot tell from its samples how many images they are.
            self.loss_cls.num_images = next(len(value) for value in args if isinstance(value, Tensor))
        if self.density_scope == "level" or self._needs_stride:
            return self.loss_of_anchors(*args, **kwargs)
        self._levels.append(args)
        if len(self._levels) < self._num_levels:
            # How many losses there are is not known before the last level; mmdet zips the levels' losses together,
            # which ends with the shortest.
            return itertools.repeat(self._zero(args))
        try:
            merged = merge_levels(self._levels)
        except TypeError as error:
            raise TypeError(f"density_scope='batch' does not fit {type(self).__name__}: {error}") from error
        return self.loss_of_anchors(*merged, **kwargs)

    @staticmethod
    def _zero(values: Iterable) -> Tensor:
        return next((value.new_zeros(()) for value in values if isinstance(value, Tensor)), torch.zeros(()))

    def loss_by_feat(self, cls_scores: list[Tensor], *args: Any, **kwargs: Any) -> dict:
        """The losses, with the names they have in mmdet."""
        if self.density_scope == "batch" and self._needs_stride:
            with gathered_calls(self.loss_cls, number=len(cls_scores), num_images=len(cls_scores[0])):
                return super().loss_by_feat(cls_scores, *args, **kwargs)  # type: ignore[misc]  # as above
        self._levels, self._num_levels = [], len(cls_scores)
        try:
            losses = super().loss_by_feat(cls_scores, *args, **kwargs)  # type: ignore[misc]  # as above
            if self.density_scope == "batch" and len(self._levels) != self._num_levels:
                raise TypeError(
                    f"density_scope='batch' does not fit {type(self).__name__}: it called loss_by_feat_single "
                    f"{len(self._levels)} times for {self._num_levels} levels"
                )
        finally:
            self._levels = []
        return losses


@MODELS.register_module()
class RetinaHead(DensityScopeMixin, MMDetRetinaHead):
    """mmdet's RetinaHead with the option ``density_scope``, see :class:`DensityScopeMixin`."""


@MODELS.register_module()
class RPNHead(DensityScopeMixin, MMDetRPNHead):
    """mmdet's RPNHead with the option ``density_scope``, see :class:`DensityScopeMixin`."""


@MODELS.register_module()
class ATSSHead(DensityScopeMixin, MMDetATSSHead):
    """mmdet's ATSSHead with the option ``density_scope``, see :class:`DensityScopeMixin`."""


@MODELS.register_module()
class GFLHead(DensityScopeMixin, MMDetGFLHead):
    """mmdet's GFLHead with the option ``density_scope``, see :class:`DensityScopeMixin`."""


@MODELS.register_module()
class RTMDetHead(DensityScopeMixin, MMDetRTMDetHead):
    """mmdet's RTMDetHead with the option ``density_scope``, see :class:`DensityScopeMixin`."""


@MODELS.register_module()
class RTMDetSepBNHead(DensityScopeMixin, MMDetRTMDetSepBNHead):
    """mmdet's RTMDetSepBNHead with the option ``density_scope``, see :class:`DensityScopeMixin`."""


@MODELS.register_module()
class TOODHead(DensityScopeMixin, MMDetTOODHead):
    """mmdet's TOODHead with the option ``density_scope``, see :class:`DensityScopeMixin`."""
