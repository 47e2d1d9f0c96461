"""Online hard example mining as a registered loss."""

from __future__ import annotations

from torch import Tensor

from ghm_mmdet.functional import ohem_loss
from ghm_mmdet.functional.ohem import check_ratio
from ghm_mmdet.losses.element_loss import SigmoidElementLoss
from ghm_mmdet.registry import MODELS


@MODELS.register_module()
class OHEMLoss(SigmoidElementLoss):
    """Binary cross-entropy of all positives and the hardest negatives; see :func:`ghm_mmdet.functional.ohem_loss`.

    Positives are counted and negatives ranked among the samples of one call, all images together: with mmdet's heads
    those of one level of the feature pyramid, with ``density_scope="batch"`` those of all levels. A call without any
    positive keeps the ``neg_pos_ratio`` hardest negatives, as for one positive.

    ``per_image=True`` counts and ranks in each image for itself. A loss is given the samples of a batch in one long
    row, so the head has to say how many images they are, by setting ``num_images`` before the call, and has to hand
    over one image after the other, equally many samples each. mmdet's anchor heads keep that order, but do not set the
    number; mmdet's FCOSHead does not keep it.

    Of several GPUs each mines the samples of its own call, and there is no ``sync``: an image's choice must not hang on
    what other GPUs hold. With ``per_image=True``, as in OHEMRetinaHead, the choice is the same on any number of them.

    Unlike the sampling OHEM of mmdet's ``train_cfg``, regression is left alone. ``"mean"`` without ``avg_factor``
    divides by the number of all elements, chosen or not.

    Args:
        neg_pos_ratio: negatives kept for each positive, at least 0; ``math.inf`` makes it plain cross-entropy.
        per_image: whether each image is mined for itself.
        use_sigmoid: must be true. mmdet's heads read it from the config to decide on the number of logits, so write it
            there.
        loss_weight: factor on the loss, at least 0.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        neg_pos_ratio: float = 3.0,
        per_image: bool = False,
        use_sigmoid: bool = True,
        loss_weight: float = 1.0,
        reduction: str = "mean",
    ):
        super().__init__(use_sigmoid, loss_weight, reduction)
        check_ratio(neg_pos_ratio)
        if not isinstance(per_image, bool):
            raise ValueError(f"per_image must be True or False, got {per_image!r}")
        self.neg_pos_ratio = neg_pos_ratio
        self.per_image = per_image
        self.num_images: int | None = None

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            pred: logits, shape (N, C).
            target: integer labels of shape (N,), background being C, or values in [0, 1] of shape (N, C).
            weight: factor on the loss, shape (N,), (N, 1) or (N, C); a sample whose weights are all 0 is left out.
            avg_factor: what ``"mean"`` divides the sum by, in place of the number of elements.
            reduction_override: takes the place of ``reduction``.

        Raises:
            ValueError: shapes, dtypes or devices do not fit together, the reduction is unknown, or it is ``"sum"``
                together with an ``avg_factor``; or ``per_image`` is set and ``num_images`` is not.
        """
        num_images = self.num_images if self.per_image else 1
        if num_images is None:
            raise ValueError(
                "OHEMLoss(per_image=True) does not know how many images its samples are: the head must set "
                "loss_cls.num_images before each call. Use a head of ghm_mmdet, such as ghm_mmdet.RetinaHead, or "
                "per_image=False"
            )
        loss = ohem_loss(pred, target, weight, self.neg_pos_ratio, num_images=num_images)
        return self._reduce(loss, avg_factor, reduction_override)

    def extra_repr(self) -> str:
        return f"neg_pos_ratio={self.neg_pos_ratio}, per_image={self.per_image}, {super().extra_repr()}"
