"""Real gloo ranks against one process that has all the samples."""

import pytest
import torch
import torch.distributed
from ranks import rank_main, run_ranks

from ghm_mmdet.functional import ghm_c_loss, ghm_r_loss
from ghm_mmdet.nn import GHMC, GHMR

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


class Losses:
    """Each kind of loss, with moving averages that go on from case to case."""

    def __init__(self, sync):
        self.sync = sync
        self.averages = {kind: torch.zeros(2, BINS, dtype=torch.float64) for kind in ("moving", "moving regression")}
        options = {"bins": BINS, "momentum": 0.75, "sync": sync}
        self.modules = {
            "positives": GHMC(normalize="positives", max_weight=10.0, **options),
            "scaled": GHMC(normalize="avg_factor", scale_by_weight=True, **options),
            "scaled mean": GHMC(scale_by_weight=True, **options),
            "scaled regression": GHMR(scale_by_weight=True, **options),
            "shares": GHMC(average="shares", debias=True, **options),
            "automatic mu": GHMR(mu="auto", normalize="avg_factor", **options),
        }

    def gradients(self, model, share, ranks=1):
        """Gradient of each kind of loss on the samples of so many ranks."""
        features, labels, target, weight = share
        result = []
        for kind in ("sigmoid", "softmax", "moving", "regression", "moving regression", *self.modules):
            parameters = model.clone().requires_grad_()
            pred = features @ parameters
            options = {"bins": BINS, "sync": self.sync}
            if kind in self.averages:
                acc_sum, acc_norm = self.averages[kind]
                options |= {"momentum": 0.75, "acc_sum": acc_sum, "acc_norm": acc_norm}
            if kind in self.modules:
                avg_factor = ranks + (labels < 4).sum()
                other = target if isinstance(self.modules[kind], GHMR) else labels
                # Of fractions the sizes count where they scale.
                fraction = 0.1 + features[:, 0].sigmoid() if "scaled" in kind else 1.0
                loss = self.modules[kind](pred, other, weight * fraction, avg_factor=avg_factor)
            elif "regression" in kind:
                loss = ghm_r_loss(pred, target, weight, **options)
            else:
                labels_of_kind = labels.clamp(max=3) if kind == "softmax" else labels
                loss = ghm_c_loss(pred, labels_of_kind, weight, use_sigmoid=kind != "softmax", **options)
            loss.backward()
            result.append(parameters.grad)
        return torch.stack(result)

    def state(self):
        modules = {f"{kind} {name}": b for kind, m in self.modules.items() for name, b in m.state_dict().items()}
        return self.averages | modules


def run_rank(rank, ranks):
    synced, alone, losses = [], [], Losses(sync=True)
    for case in range(CASES):
        model, shares = make_case(case, ranks)
        for results, of_case in ((synced, losses), (alone, Losses(sync=False))):
            gradient = of_case.gradients(model, shares[rank])
            torch.distributed.all_reduce(gradient)
            results.append(gradient / ranks)
    return {"synced": synced, "alone": alone, "state": losses.state()}


@pytest.fixture(scope="module", params=[2, 3])
def outcome(request, tmp_path_factory):
    ranks = request.param
    return ranks, run_ranks(__file__, ranks, tmp_path_factory.mktemp(f"ranks{ranks}"))


def test_averaged_gradient_is_that_of_one_process(outcome):
    ranks, results = outcome
    losses = Losses(sync=False)
    for case in range(CASES):
        model, shares = make_case(case, ranks)
        together = tuple(torch.cat(parts) for parts in zip(*shares))
        expected = losses.gradients(model, together, ranks)
        torch.testing.assert_close(results[0]["synced"][case], expected, rtol=1e-6, atol=1e-12)
    for result in results:
        torch.testing.assert_close(result["state"], losses.state(), rtol=1e-6, atol=1e-9)
        assert all(torch.equal(value, results[0]["state"][name]) for name, value in result["state"].items())
    assert losses.state()["automatic mu mean_difference"] > 0 and losses.state()["shares acc_share"].any()


def test_without_sync_each_rank_harmonizes_for_itself(outcome):
    ranks, results = outcome
    different = 0
    for case in range(CASES):
        model, shares = make_case(case, ranks)
        expected = sum(Losses(sync=False).gradients(model, share) for share in shares) / ranks
        torch.testing.assert_close(results[0]["alone"][case], expected, rtol=1e-6, atol=1e-12)
        different += not torch.allclose(expected, results[0]["synced"][case], rtol=1e-3)
    assert different > CASES / 2


def test_sync_alone_is_no_sync():
    model, shares = make_case(0, 2)
    found, expected = (Losses(sync).gradients(model, shares[0]) for sync in (True, False))
    assert torch.equal(found, expected)


if __name__ == "__main__":
    rank_main(run_rank)
