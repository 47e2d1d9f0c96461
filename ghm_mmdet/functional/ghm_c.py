"""GHM-C, the gradient harmonizing classification loss."""

from __future__ import annotations

from torch import Tensor

from . import checks
from .class_target import joined_target
from .harmonized_loss import as_rows, harmonized_loss
from .weighting import Weighting


def ghm_c_loss(
    logits: Tensor,
    target: Tensor | tuple[Tensor, Tensor],
    weight: Tensor | None = None,
    bins: int = 30,
    *,
    use_sigmoid: bool = True,
    momentum: float = 0.0,
    acc_sum: Tensor | None = None,
    acc_norm: Tensor | None = None,
    average: str = "counts",
    update_average: bool = True,
    max_weight: float | None = None,
    power: float | Tensor = 1.0,
    normalize: str | None = None,
    avg_factor: float | Tensor | None = None,
    scale_by_weight: bool = False,
    density: str = "region",
    sync: bool = False,
    reduction: str = "mean",
    backend: str | None = None,
) -> Tensor:
    r"""Cross-entropy with every element divided by the density of its gradient norm.

    .. math::
        g_i = |\sigma(x_i) - t_i|, \quad \beta_i = \frac{N}{R_{ind(g_i)}\, n}, \quad
        L = \frac{1}{N} \sum_i \beta_i\, BCE(x_i, t_i)

    for logits x and target t, with :math:`R_j` the number of valid elements in unit region j, n the number of regions
    that are not empty, and N the number of valid elements. One region makes it plain BCE.

    Without ``use_sigmoid`` an element is a whole sample, with softmax cross-entropy for its loss, N counts samples, and
    the gradient norm is half the L1 distance between the softmax and the target, which for a label y is 1 - p_y.

    ``normalize`` scales the weights, after their bound and power, and divides by ``avg_factor`` A in place of N:

    .. math::
        L = \frac{s}{A} \sum_i \beta_i\, BCE(x_i, t_i), \qquad
        s = \frac{N}{\sum_i \beta_i}\ \text{("avg_factor")}, \quad
        s = \frac{N_+}{\sum_{i: t_i > 0} \beta_i}\ \text{("positives")}

    so that the mean weight is 1 over all elements, or over the positives, whose weight together is then that of plain
    cross-entropy. Without a positive, "positives" scales as "avg_factor" does, but never up.

    Args:
        logits: floating point, shape (N, C), or any (..., C); half and bfloat16 are computed in float32.
        target: integer labels of shape (N,), any value outside 0 to C - 1 being background, or values in [0, 1] of the
            shape of ``logits``: one-hot, several classes at once, or soft. For softmax the background is a class like
            the others, labels lie in 0 to C - 1, and values of the shape of ``logits`` sum to 1 over the classes. A
            pair of labels and scores in [0, 1], both of shape (N,), is a soft target with the score for the sample's
            own class and 0 for the others.
        weight: shape (N,), (N, 1) or, with ``use_sigmoid``, that of ``logits`` or flat; an element counts where it is
            above 0, and its size has no effect. ``None`` counts all elements.
        bins: number of unit regions M, at least 1.
        use_sigmoid: whether each logit is a classification of its own.
        momentum: of the moving average of the counts, in [0, 1); 0 takes this call's counts alone.
        acc_sum: the moving average, floating point, shape (bins,), updated in place; needed with ``momentum``. Start
            it at 0.
        acc_norm: as ``acc_sum``; corrects the moving average's start (see :func:`harmonizing_weight`).
        average: whether ``acc_sum`` averages ``"counts"``, or ``"shares"`` of the total, for calls of different size.
        update_average: whether the call moves ``acc_sum`` and ``acc_norm``; what it returns is the same if not.
        max_weight: upper bound of :math:`\beta`, above 0.
        power: of :math:`\beta`, in [0, 1]: 1 is GHM-C, 0 plain cross-entropy with the same ``normalize``.
        normalize: ``None``, ``"avg_factor"`` or ``"positives"``. Of softmax, whose last class is the background, the
            positives are the samples of the other classes.
        avg_factor: A, above 0, used with ``normalize`` alone; ``None`` takes N, or with ``"positives"`` their number,
            at least 1.
        scale_by_weight: whether the loss of an element is also multiplied by ``weight``.
        density: ``"region"``, or ``"exact"`` for :math:`\beta_i = N / GD(g_i)` with the density of
            :func:`exact_gradient_density`, its window 1 / M wide; that has no moving average.
        sync: whether N, R and n are those of all ranks of torch.distributed, at the cost of one small all-reduce that
            every rank must take part in. The average of the ranks' losses and gradients is then that of one process
            with all samples, whatever the share of each rank; A is the sum of the ranks' ``avg_factor``.
        reduction: ``"mean"`` for L, ``"sum"`` for N L or A L, ``"none"`` for the :math:`\beta_i\, BCE` or
            :math:`s \beta_i\, BCE` of each element.
        backend: of ``ghm_mmdet.ops``; ``None`` takes the fastest that is there.

    Returns:
        A scalar, or with ``"none"`` the shape of ``logits``, for softmax without its last dimension; float32, or
        float64 for float64 logits. Empty or entirely ignored input gives 0, still attached to ``logits``. The gradient
        flows to ``logits`` alone, takes :math:`\beta` as constant, and cannot be differentiated again.

    Raises:
        ValueError: an argument is out of its range, or shapes, dtypes or devices do not fit together. Values are not
            looked at.

    Example:
        Three easy negatives share a region, the hard positive has one of its own, and both regions weigh the same.

        >>> logits = torch.tensor([[-4.0], [-4.0], [-4.0], [-2.0]])
        >>> target = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
        >>> ghm_c_loss(logits, target, bins=10, reduction="none").flatten()
        tensor([0.0121, 0.0121, 0.0121, 4.2539])

    Source: GHM paper (Li, Liu and Wang, AAAI 2019, arXiv:1811.05181), section "GHM-C Loss"; the softmax form is ours.
    """
    checks.check_prediction("logits", logits)
    target = joined_target(target, logits)
    checks.check_class_target(target, logits)
    weighting = Weighting(
        bins, momentum, acc_sum, acc_norm, average, update_average, max_weight, power, normalize, avg_factor,
        scale_by_weight, density, sync, reduction, backend,
    )  # fmt: skip
    weighting.check(logits, (None, "avg_factor", "positives"))
    if not use_sigmoid and logits.dim() < 2:
        raise ValueError(f"logits must have the classes along their last dimension, got {checks.describe(logits)}")
    weight = checks.rows_of_weight(weight, logits, per_sample=not use_sigmoid)

    dense = target.dim() == logits.dim()
    kind = "softmax" if not use_sigmoid else "dense" if dense else "label"
    rows_of_target = as_rows(target) if dense else target.flatten()
    loss = harmonized_loss(kind, as_rows(logits), rows_of_target, weight, weighting)
    if reduction == "none":
        return loss.view(logits.shape if use_sigmoid else logits.shape[:-1])
    return loss
