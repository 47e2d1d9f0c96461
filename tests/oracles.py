"""The losses written down from their definitions with plain loops: slow, and sharing nothing with the package."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class MovingAverage:
    """S_j <- a S_j + (1 - a) R_j over the regions that are not empty, optionally corrected for its start at 0."""

    bins: int
    momentum: float
    debias: bool = False
    shares: bool = False
    sums: list[float] = field(init=False)
    mass: list[float] = field(init=False)

    def __post_init__(self):
        self.sums = [0.0] * self.bins
        self.mass = [0.0] * self.bins

    def density(self, counts: list[int]) -> list[float]:
        if self.momentum == 0:
            return [float(count) for count in counts]
        unit = sum(counts) if self.shares else 1
        for j, count in enumerate(counts):
            if count > 0:
                self.sums[j] = self.momentum * self.sums[j] + (1 - self.momentum) * count / unit
                self.mass[j] = self.momentum * self.mass[j] + (1 - self.momentum)
        if self.debias:
            return [unit * s / m if m > 0 else 0.0 for s, m in zip(self.sums, self.mass)]
        return [unit * s for s in self.sums]


def region(g: float, bins: int) -> int:
    """The unit region of g, found by comparing with every edge."""
    for j in range(bins - 1, 0, -1):
        if g >= j / bins:
            return j
    return 0


def region_weights(norms, valid, total, bins, average=None, max_weight=math.inf, power=1.0) -> list[float]:
    """beta of each element; 0 for the elements that are not valid."""
    average = average or MovingAverage(bins, 0.0)
    counts = [0] * bins
    for g, v in zip(norms, valid):
        if v:
            counts[region(g, bins)] += 1
    filled = sum(count > 0 for count in counts)
    density = average.density(counts)
    weights = [min(total / (density[region(g, bins)] * filled), max_weight) if v else 0.0 for g, v in zip(norms, valid)]
    return [w**power if v else 0.0 for w, v in zip(weights, valid)]


def normalized(weights, valid, targets, form) -> list[float]:
    """Weights of mean 1 over the valid elements, or over the positives among them."""
    mean = sum(weights) / max(sum(map(bool, valid)), 1)
    if form == "positives":
        positives = [w for w, v, t in zip(weights, valid, targets) if v and t > 0]
        mean = sum(positives) / len(positives) if positives else max(mean, 1.0)
    return [w / mean if mean > 0 else 0.0 for w in weights]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def bce(x: float, t: float) -> float:
    return max(x, 0) - x * t + math.log1p(math.exp(-abs(x)))


@dataclass
class Result:
    loss: float
    elements: list[float]
    gradient: list[float]
    weights: list[float]


def ghm_c(logits, targets, valid, bins, average=None, max_weight=math.inf) -> Result:
    """GHM-C over flat lists of logits, targets in [0, 1] and validity; the gradient is that of the mean."""
    norms = [abs(sigmoid(x) - t) for x, t in zip(logits, targets)]
    total = max(sum(map(bool, valid)), 1)
    weights = region_weights(norms, valid, total, bins, average, max_weight)
    elements = [w * bce(x, t) for w, x, t in zip(weights, logits, targets)]
    gradient = [w * (sigmoid(x) - t) / total for w, x, t in zip(weights, logits, targets)]
    return Result(sum(elements) / total, elements, gradient, weights)


def ghm_r(preds, targets, weight, mu, bins, average=None, max_weight=math.inf) -> Result:
    """GHM-R over flat lists; N is the sum of the weights."""
    differences = [p - t for p, t in zip(preds, targets)]
    norms = [abs(d) / math.sqrt(d * d + mu * mu) for d in differences]
    total = max(sum(weight), 1)
    weights = region_weights(norms, [w > 0 for w in weight], total, bins, average, max_weight)
    elements = [w * (math.sqrt(d * d + mu * mu) - mu) for w, d in zip(weights, differences)]
    gradient = [w * d / math.sqrt(d * d + mu * mu) / total for w, d in zip(weights, differences)]
    return Result(sum(elements) / total, elements, gradient, weights)


def one_hot(labels, classes) -> list[float]:
    """Flat one-hot rows; a label outside 0 to classes - 1 is background."""
    return [1.0 if label == c else 0.0 for label in labels for c in range(classes)]


def exact_density(norms, eps) -> list[float]:
    """GD by its definition: for each element count the others in its window, then divide by the window's length."""
    density = []
    for g in norms:
        count = sum(g - eps / 2 <= other < g + eps / 2 for other in norms)
        density.append(count / (min(g + eps / 2, 1) - max(g - eps / 2, 0)))
    return density


def softmax(row) -> list[float]:
    top = max(row)
    powers = [math.exp(x - top) for x in row]
    return [p / sum(powers) for p in powers]


def softmax_ghm_c(rows, targets, valid, bins, average=None) -> Result:
    """Softmax GHM-C over rows of logits and rows of target distributions; one weight per sample."""
    probabilities = [softmax(row) for row in rows]
    norms = [sum(abs(p - t) for p, t in zip(ps, ts)) / 2 for ps, ts in zip(probabilities, targets)]
    total = max(sum(map(bool, valid)), 1)
    weights = region_weights(norms, valid, total, bins, average)
    elements = [w * -sum(t * math.log(p) for p, t in zip(ps, ts)) for w, ps, ts in zip(weights, probabilities, targets)]
    gradient = [w * (p - t) / total for w, ps, ts in zip(weights, probabilities, targets) for p, t in zip(ps, ts)]
    return Result(sum(elements) / total, elements, gradient, weights)


def balanced_cross_entropy(x: float, t: float, alpha: float) -> tuple[float, float]:
    """alpha_t BCE of one element, and its derivative."""
    alpha_t = alpha * t + (1 - alpha) * (1 - t)
    return alpha_t * bce(x, t), alpha_t * (sigmoid(x) - t)


def focal_star(x: float, positive: bool, gamma: float, beta: float, alpha: float) -> tuple[float, float]:
    """-alpha_t log(sigmoid(gamma x_t + beta)) / gamma of one element with a hard target, and its derivative."""
    x_t = x if positive else -x
    alpha_t = alpha if positive else 1 - alpha
    probability = sigmoid(gamma * x_t + beta)
    slope = alpha_t * (probability - 1)
    return -alpha_t * math.log(probability) / gamma, slope if positive else -slope


def ohem(logits, targets, weights, neg_pos_ratio, images=1) -> list[list[float]]:
    """OHEM over rows of logits, targets and weights: the loss of each element, image after image."""
    elements, length = [], len(logits) // images
    for start in range(0, length * images, max(length, 1)):
        rows = range(start, start + length)
        loss = {i: [w * bce(x, t) for x, t, w in zip(logits[i], targets[i], weights[i])] for i in rows}
        counted = [i for i in rows if any(w > 0 for w in weights[i])]
        positives = [i for i in counted if any(t > 0 and w > 0 for t, w in zip(targets[i], weights[i]))]
        negatives = sorted((i for i in counted if i not in positives), key=lambda i: -sum(loss[i]))
        most = neg_pos_ratio * max(len(positives), 1)
        kept = positives + [i for place, i in enumerate(negatives, 1) if place <= most]
        elements += [loss[i] if i in kept else [0.0] * len(loss[i]) for i in rows]
    return elements
