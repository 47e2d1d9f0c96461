"""ThresholdCrossEntropyLoss on real gloo ranks against one process that has all the samples."""

from __future__ import annotations

import pytest
import torch
import torch.distributed
from ranks import rank_main, run_ranks

from ghm_mmdet.losses import ThresholdCrossEntropyLoss

CASES = 20


def make_case(case, ranks):
    """A linear model, and for each rank its samples: uneven shares, some without positives, ignored or empty."""
    generator = torch.Generator().manual_seed(case)
    model = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    shares = []
    for rank in range(ranks):
        size = int(torch.randint(1, 60, (1,), generator=generator)) * (case % 4 != rank)
        features = torch.randn(size, 6, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, 12, (size,), generator=generator).clamp(max=4)
        if case % 5 == rank:
            labels.fill_(4)
        weight = torch.rand(size, generator=generator, dtype=torch.float64) * (case % 7 != 3 + rank)
        shares.append((features, labels, weight))
    return model, shares


def gradient(model, share, sync, avg_factor):
    features, labels, weight = share
    parameters = model.clone().requires_grad_()
    loss = ThresholdCrossEntropyLoss(0.3, sync=sync)(features @ parameters, labels, weight, avg_factor=avg_factor)
    loss.backward()
    return parameters.grad


def avg_factor_of(share):
    return 1.0 + float((share[1] < 4).sum())


def run_rank(rank, ranks):
    results = []
    for case in range(CASES):
        model, shares = make_case(case, ranks)
        of_case = []
        for sync, divides in ((True, True), (True, False), (False, True)):
            found = gradient(model, shares[rank], sync, avg_factor_of(shares[rank]) if divides else None)
            torch.distributed.all_reduce(found)
            of_case.append(found / ranks)
        results.append(torch.stack(of_case))
    return results


@pytest.mark.parametrize("ranks", [2, 3])
def test_averaged_gradient_is_that_of_one_process(ranks, tmp_path):
    different = 0
    for case, (with_factor, without, alone) in enumerate(run_ranks(__file__, ranks, tmp_path)[0]):
        model, shares = make_case(case, ranks)
        together = tuple(torch.cat(parts) for parts in zip(*shares))
        expected = gradient(model, together, False, sum(map(avg_factor_of, shares)))
        torch.testing.assert_close(with_factor, expected, rtol=1e-6, atol=1e-12)
        torch.testing.assert_close(without, gradient(model, together, False, None), rtol=1e-6, atol=1e-12)
        different += not torch.allclose(alone, with_factor, rtol=1e-3)
    assert different > CASES / 2, "without sync each rank counts for itself"


if __name__ == "__main__":
    rank_main(run_rank)
