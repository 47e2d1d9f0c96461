"""One logit for each class in the RoI heads of mmdet, which otherwise have one more, for the background."""

from __future__ import annotations

import torch.nn.functional as F
from mmdet.models.losses import accuracy
from torch import Tensor


class SigmoidRoIChannels:
    """Lets a RoI head of mmdet have the logits of a classification with a sigmoid for each class.

    mmdet's BBoxHead asks a loss with ``custom_cls_channels`` how many logits it wants, and takes scores and accuracy
    from it. Without this a sigmoid loss would train the background as a class of its own, and the head would predict
    with a softmax. Dense heads do not ask, and need nothing.
    """

    use_sigmoid: bool
    _of_regions = False

    @property
    def custom_cls_channels(self) -> bool:
        return self.use_sigmoid

    @property
    def custom_activation(self) -> bool:
        return self.use_sigmoid

    def get_cls_channels(self, num_classes: int) -> int:
        """Called by RoI heads alone."""
        self._of_regions = True
        return num_classes

    def get_activation(self, cls_score: Tensor) -> Tensor:
        """Scores of the classes, in RoI heads with the last column for the background, which these drop."""
        scores = cls_score.sigmoid()
        if not self._of_regions:
            return scores
        return F.pad(scores, (0, 1))

    def get_accuracy(self, cls_score: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Of the samples with an object, how many have its class highest, in percent."""
        positive = (labels >= 0) & (labels < cls_score.shape[1])
        return {"acc_classes": accuracy(cls_score[positive], labels[positive])}
