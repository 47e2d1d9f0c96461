"""GHM-C, the gradient harmonizing classification loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ghm_mmdet.functional import checks, cpu_kernel
from ghm_mmdet.functional.density import Density
from ghm_mmdet.functional.harmonized_loss import Samples, Term, as_rows, harmonized_loss


class _SigmoidLabelTerm(Term):
    """Binary cross-entropy against integer labels, without the one-hot target ever being written out."""

    per_sample = False

    @staticmethod
    def prepared(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The column of each sample's own class, its target there, and the sign that turns the logit against it.

        A sample of the background has column 0 and target 0; each is of shape (N, 1), without classes (N, 0).
        """
        classes = logits.shape[1]
        label = label.unsqueeze(1)[:, :classes]
        own = ((label >= 0) & (label < classes)).to(torch.promote_types(logits.dtype, torch.float32))
        return label.long().clamp(0, classes - 1), own, 1 - 2 * own

    def derivative(self, pred: Tensor, column: Tensor, own: Tensor, sign: Tensor) -> Tensor:
        return pred.sigmoid().scatter_add_(1, column, -own)

    def loss(self, pred: Tensor, column: Tensor, own: Tensor, sign: Tensor) -> Tensor:
        return F.softplus(pred).scatter_(1, column, F.softplus(pred.gather(1, column).mul_(sign)))


class _SigmoidDenseTerm(Term):
    """Binary cross-entropy against one target in [0, 1] for each logit."""

    per_sample = False

    def derivative(self, pred: Tensor, target: Tensor) -> Tensor:
        return pred.sigmoid() - target.to(pred.dtype)

    def loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(pred, target.to(pred.dtype), reduction="none")


class _SoftmaxLabelTerm(Term):
    """Cross-entropy against integer labels."""

    per_sample = True

    def derivative(self, pred: Tensor, target: Tensor) -> Tensor:
        column = target.long().unsqueeze(1)
        return pred.softmax(1).scatter_add_(1, column, -torch.ones_like(column, dtype=pred.dtype))

    def loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(pred, target.long(), reduction="none").unsqueeze(1)


class _SoftmaxDenseTerm(Term):
    """Cross-entropy against one distribution over the classes for each sample."""

    per_sample = True

    def derivative(self, pred: Tensor, target: Tensor) -> Tensor:
        target = target.to(pred.dtype)
        return pred.softmax(1) * target.sum(1, keepdim=True) - target

    def loss(self, pred: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(pred, target.to(pred.dtype), reduction="none").unsqueeze(1)


def _term(use_sigmoid: bool, dense: bool) -> Term:
    if use_sigmoid:
        return _SigmoidDenseTerm() if dense else _SigmoidLabelTerm()
    return _SoftmaxDenseTerm() if dense else _SoftmaxLabelTerm()


def ghm_c_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    bins: int = 30,
    *,
    use_sigmoid: bool = True,
    momentum: float = 0.0,
    acc_sum: Tensor | None = None,
    acc_norm: Tensor | None = None,
    max_weight: float | None = None,
    density: str = "region",
    sync: bool = False,
    reduction: str = "mean",
) -> Tensor:
    r"""Cross-entropy with every element divided by the density of its gradient norm.

    .. math::
        g_i = |\sigma(x_i) - t_i|, \quad \beta_i = \frac{N}{R_{ind(g_i)}\, n}, \quad
        L = \frac{1}{N} \sum_i \beta_i\, BCE(x_i, t_i)

    for logits x and target t, with :math:`R_j` the number of valid elements in unit region j, n the number of regions
    that are not empty, and N the number of valid elements. One region makes it plain BCE.

    Without ``use_sigmoid`` an element is a whole sample, with softmax cross-entropy for its loss, N counts samples, and
    the gradient norm is half the L1 distance between the softmax and the target, which for a label y is 1 - p_y.

    Args:
        logits: floating point, shape (N, C), or any (..., C); half and bfloat16 are computed in float32.
        target: integer labels of shape (N,), any value outside 0 to C - 1 being background, or values in [0, 1] of the
            shape of ``logits``: one-hot, several classes at once, or soft. For softmax the background is a class like
            the others, labels lie in 0 to C - 1, and values of the shape of ``logits`` sum to 1 over the classes.
        weight: shape (N,), (N, 1) or, with ``use_sigmoid``, that of ``logits``; an element counts where it is above 0,
            and its size has no effect. ``None`` counts all elements.
        bins: number of unit regions M, at least 1.
        use_sigmoid: whether each logit is a classification of its own.
        momentum: of the moving average of the counts, in [0, 1); 0 takes this call's counts alone.
        acc_sum: the moving average, floating point, shape (bins,), updated in place; needed with ``momentum``. Start
            it at 0.
        acc_norm: as ``acc_sum``; corrects the moving average's start (see :func:`harmonizing_weight`).
        max_weight: upper bound of :math:`\beta`, above 0.
        density: ``"region"``, or ``"exact"`` for :math:`\beta_i = N / GD(g_i)` with the density of
            :func:`exact_gradient_density`, its window 1 / M wide; that has no moving average.
        sync: whether N, R and n are those of all ranks of torch.distributed, at the cost of one small all-reduce that
            every rank must take part in. The average of the ranks' losses and gradients is then that of one process
            with all samples, whatever the share of each rank.
        reduction: ``"mean"`` for L, ``"sum"`` for N L, ``"none"`` for the :math:`\beta_i\, BCE` of each element.

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
    checks.check_reduction(reduction)
    checks.check_prediction("logits", logits)
    checks.check_class_target(target, logits)
    settings = Density(bins, momentum, acc_sum, acc_norm, max_weight, density, sync)
    settings.check(logits)
    if not use_sigmoid and logits.dim() < 2:
        raise ValueError(f"logits must have the classes along their last dimension, got {checks.describe(logits)}")
    weight = checks.rows_of_weight(weight, logits, per_sample=not use_sigmoid)

    rows = as_rows(logits)
    dense = target.dim() == logits.dim()
    target = as_rows(target) if dense else target.flatten()
    samples = Samples(rows, (target,), weight)
    if use_sigmoid and cpu_kernel.serves(samples, settings, reduction):
        return cpu_kernel.harmonized_loss(samples, "dense" if dense else "label", settings, reduction)
    if torch.compiler.is_compiling() and use_sigmoid and not dense:
        # The compiler fuses this comparison away, while it could not fuse the scatter of the label term.
        target = target.unsqueeze(1) == torch.arange(rows.shape[1], device=rows.device)
        dense = True
    term = _term(use_sigmoid, dense)
    targets = term.prepared(rows, target) if isinstance(term, _SigmoidLabelTerm) else (target,)
    samples = Samples(rows, targets, weight)
    try:
        loss = harmonized_loss(samples, term, settings, reduction)
    except (IndexError, RuntimeError) as error:
        if use_sigmoid or "out of bounds" not in str(error):
            raise
        raise ValueError(
            f"target must hold labels from 0 to {rows.shape[1] - 1} with use_sigmoid=False, where the background is a "
            f"class with a logit of its own (a head built for sigmoid has none), got another label"
        ) from error
    if reduction == "none":
        return loss.view(logits.shape if use_sigmoid else logits.shape[:-1])
    return loss
