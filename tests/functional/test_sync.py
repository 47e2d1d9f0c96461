"""Real gloo ranks against one process that has all the samples."""

import pytest
import torch
import torch.distributed
from ranks import rank_main, run_ranks

from ghm_mmdet.functional import ghm_c_loss, ghm_r_loss

CASES = 50
BINS = 10


def make_case(case, ranks):
    """A linear model, and for each rank its samples: uneven shares, some without positives, some empty."""
    generator = torch.Generator().manual_seed(case)
    sizes = [int(size) for size in torch.randint(1, 60, (ranks,), generator=generator)]
    if case % 4 == 1:
        sizes[case % ranks] = 0
    if case % 10 == 9:
        sizes = [0] * ranks
    model = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    shares = []
    for rank, size in enumerate(sizes):
        features = torch.randn(size, 6, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, 12, (size,), generator=generator).clamp(max=4)
        if case % 5 == 2 and rank == 0:
            labels.fill_(4)
        target = torch.randn(size, 4, generator=generator, dtype=torch.float64)
        weight = (torch.rand(size, generator=generator) > 0.2).double()
        if case % 7 == 3 and rank == ranks - 1:
            weight.zero_()
        shares.append((features, labels, target, weight))
    return model, shares


def gradients(model, share, averages, sync):
    """Gradient of each kind of loss on one share; `averages` are moving averages that go on from case to case."""
    features, labels, target, weight = share
    result = []
    for kind in ("sigmoid", "softmax", "moving", "regression", "moving regression"):
        parameters = model.clone().requires_grad_()
        pred = features @ parameters
        options = {"bins": BINS, "sync": sync}
        if "moving" in kind:
            acc_sum, acc_norm = averages[kind]
            options |= {"momentum": 0.75, "acc_sum": acc_sum, "acc_norm": acc_norm}
        if "regression" in kind:
            loss = ghm_r_loss(pred, target, weight, **options)
        else:
            labels_of_kind = labels.clamp(max=3) if kind == "softmax" else labels
            loss = ghm_c_loss(pred, labels_of_kind, weight, use_sigmoid=kind != "softmax", **options)
        loss.backward()
        result.append(parameters.grad)
    return torch.stack(result)


def new_averages():
    return {kind: torch.zeros(2, BINS, dtype=torch.float64) for kind in ("moving", "moving regression")}


def run_rank(rank, ranks):
    averages, synced, alone = new_averages(), [], []
    for case in range(CASES):
        model, shares = make_case(case, ranks)
        for results, sync in ((synced, True), (alone, False)):
            gradient = gradients(model, shares[rank], averages if sync else new_averages(), sync)
            torch.distributed.all_reduce(gradient)
            results.append(gradient / ranks)
    return {"synced": synced, "alone": alone, "averages": averages}


@pytest.fixture(scope="module", params=[2, 3])
def outcome(request, tmp_path_factory):
    ranks = request.param
    return ranks, run_ranks(__file__, ranks, tmp_path_factory.mktemp(f"ranks{ranks}"))


def test_averaged_gradient_is_that_of_one_process(outcome):
    ranks, results = outcome
    averages = new_averages()
    for case in range(CASES):
        model, shares = make_case(case, ranks)
        together = tuple(torch.cat(parts) for parts in zip(*shares))
        expected = gradients(model, together, averages, sync=False)
        torch.testing.assert_close(results[0]["synced"][case], expected, rtol=1e-6, atol=1e-12)
    for result in results:
        torch.testing.assert_close(result["averages"], averages, rtol=1e-6, atol=1e-9)
        assert all(torch.equal(result["averages"][kind], results[0]["averages"][kind]) for kind in averages)


def test_without_sync_each_rank_harmonizes_for_itself(outcome):
    ranks, results = outcome
    different = 0
    for case in range(CASES):
        model, shares = make_case(case, ranks)
        expected = sum(gradients(model, share, new_averages(), sync=False) for share in shares) / ranks
        torch.testing.assert_close(results[0]["alone"][case], expected, rtol=1e-6, atol=1e-12)
        different += not torch.allclose(expected, results[0]["synced"][case], rtol=1e-3)
    assert different > CASES / 2


def test_sync_alone_is_no_sync():
    model, shares = make_case(0, 2)
    alone = gradients(model, shares[0], new_averages(), sync=False)
    assert torch.equal(gradients(model, shares[0], new_averages(), sync=True), alone)


if __name__ == "__main__":
    rank_main(run_rank)
