import math

import pytest
import torch
from seeds import seeded

from ghm_mmdet.functional.stratified_mining import stratified_hard_samples

pytestmark = pytest.mark.usefixtures("on_device")


def naive(cls_loss, loc_loss, num, strata, alpha, beta):
    hardness = [alpha * c + beta * b for c, b in zip(cls_loss, loc_loss)]
    members: list[list[int]] = [[] for _ in strata]
    for i in sorted(range(len(hardness)), key=lambda i: -hardness[i]):
        share = alpha * cls_loss[i] / hardness[i] if hardness[i] > 0 else 1.0
        members[min(int(share * len(strata)), len(strata) - 1)].append(i)
    chosen = [i for part, group in zip(strata, members) for i in group[: math.floor(num * part + 1e-9)]]
    others = [i for i in sorted(range(len(hardness)), key=lambda i: -hardness[i]) if i not in chosen]
    return sorted(chosen + others[: num - len(chosen)])


@pytest.mark.parametrize("strata", [(1.0,), (0.25,) * 4, (0.5, 0.3, 0.2), (0.0, 1.0)])
@pytest.mark.parametrize("num", [0, 1, 10, 29, 60, 100])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0), (0.0, 1.0)])
def test_equals_oracle(strata, num, weights):
    generator = seeded(num)
    cls_loss, loc_loss = torch.rand(2, 60, generator=generator, dtype=torch.float64)
    loc_loss[20:] = 0
    chosen = stratified_hard_samples(cls_loss, loc_loss, num, strata, *weights)
    assert sorted(chosen.tolist()) == naive(cls_loss.tolist(), loc_loss.tolist(), num, strata, *weights)
    assert len(chosen) == min(num, 60)


def test_one_stratum_takes_the_hardest():
    cls_loss, loc_loss = torch.rand(2, 40, generator=seeded(0))
    chosen = stratified_hard_samples(cls_loss, loc_loss, 7, (1.0,))
    assert set(chosen.tolist()) == set((cls_loss + loc_loss).topk(7).indices.tolist())


def test_easy_localization_is_kept_where_ohem_drops_it():
    cls_loss = torch.tensor([5.0, 4.0, 3.0, 0.0])
    loc_loss = torch.tensor([0.0, 0.0, 0.0, 0.1])
    assert 3 not in stratified_hard_samples(cls_loss, loc_loss, 2, (1.0,))
    assert sorted(stratified_hard_samples(cls_loss, loc_loss, 2, (0.5, 0.5)).tolist()) == [0, 3]


def test_rounding_ties_and_empty():
    same = torch.ones(200)
    assert stratified_hard_samples(same, 0 * same, 100, (0.29, 0.71)).sort().values.tolist() == list(range(100))
    assert stratified_hard_samples(same[:0], same[:0], 5).tolist() == []
    zeros = torch.zeros(3)
    assert sorted(stratified_hard_samples(zeros, zeros, 2).tolist()) == [0, 1]


@pytest.mark.parametrize(
    ("message", "options"),
    [
        (r"sum 1, got \(0.5, 0.4\)", dict(strata=(0.5, 0.4))),
        ("a part of strata must be a number in .* got -0.5", dict(strata=(-0.5, 1.5))),
        (r"sum 1, got \(\)", dict(strata=())),
        ("cls_weight must be", dict(cls_weight=-1)),
        ("loc_weight must be", dict(loc_weight=math.nan)),
        (r"one shape \(N,\), got \(4,\) float32 and \(3,\) float32", dict(loc_loss=torch.zeros(3))),
    ],
)
def test_bad_input_is_named(message, options):
    with pytest.raises(ValueError, match=message):
        stratified_hard_samples(**{**dict(cls_loss=torch.zeros(4), loc_loss=torch.zeros(4), num=2), **options})
