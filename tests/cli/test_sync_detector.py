"""A whole RetinaNet head on real gloo ranks against one process that has all the images."""

from __future__ import annotations

import pytest
import torch
import torch.distributed
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from ranks import rank_main, run_ranks
from tools.fork_server import forked_python

STEPS = 4
# Of each rank in each step the number of objects in each of its images: shares without an object, and uneven ones.
OBJECTS = [[[2, 1], [3]], [[0], [2]], [[1], [0, 0, 4]], [[0], [0]]]


def build_head(scope: str, sync: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        head = MODELS.build(
            dict(
                type="ghm_mmdet.RetinaHead",
                density_scope=scope,
                num_classes=3,
                in_channels=4,
                feat_channels=4,
                stacked_convs=1,
                anchor_generator=dict(
                    type="AnchorGenerator", octave_base_scale=3, scales_per_octave=1, ratios=[1.0], strides=[8, 16]
                ),
                bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
                loss_cls=dict(type="ghm_mmdet.GHMC", bins=10, momentum=0.75, use_sigmoid=True, sync=sync),
                loss_bbox=dict(type="ghm_mmdet.GHMR", bins=10, momentum=0.7, sync=sync),
                train_cfg=dict(
                    assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
                    allowed_border=-1,
                    pos_weight=-1,
                ),
            )
        )
    for parameter in head.parameters():
        # Gradient norms all over [0, 1] from the start.
        torch.nn.init.normal_(parameter, std=0.5)
    return head.double()


def images(step: int, rank: int) -> tuple[list[torch.Tensor], list[DetDataSample]]:
    generator = torch.Generator().manual_seed(100 * step + rank)
    samples = []
    for count in OBJECTS[step][rank]:
        corner = torch.rand(count, 2, generator=generator) * 32
        boxes = torch.cat([corner, corner + 16 + 16 * torch.rand(count, 2, generator=generator)], dim=1)
        labels = torch.randint(0, 3, (count,), generator=generator)
        sample = DetDataSample(metainfo=dict(img_shape=(64, 64), pad_shape=(64, 64), batch_input_shape=(64, 64)))
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        samples.append(sample)
    shape = (len(samples), 4)
    levels = [torch.randn(*shape, side, side, generator=generator, dtype=torch.float64) for side in (8, 4)]
    return levels, samples


def gradient(head: torch.nn.Module, levels: list[torch.Tensor], samples: list[DetDataSample]) -> torch.Tensor:
    head.zero_grad()
    losses = head.loss(levels, samples)
    sum(value for values in losses.values() for value in values).backward()
    return torch.cat([parameter.grad.flatten() for parameter in head.parameters()])


def state(head: torch.nn.Module) -> torch.Tensor:
    return torch.cat([head.loss_cls.acc_sum, head.loss_bbox.acc_sum])


def run_rank(rank: int, ranks: int) -> dict:
    result = {}
    for scope in ("level", "batch"):
        for sync in (True, False):
            head = build_head(scope, sync)
            gradients = []
            for step in range(STEPS):
                mean = gradient(head, *images(step, rank))
                torch.distributed.all_reduce(mean)
                gradients.append(mean / ranks)
            result[scope, sync] = torch.stack(gradients), state(head)
    return result


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return run_ranks(__file__, 2, tmp_path_factory.mktemp("ranks"), forked_python())


def alone(scope: str) -> tuple[torch.Tensor, torch.Tensor]:
    head = build_head(scope, sync=False)
    gradients = []
    for step in range(STEPS):
        parts = [images(step, rank) for rank in range(2)]
        levels = [torch.cat(level) for level in zip(*(levels for levels, _ in parts))]
        gradients.append(gradient(head, levels, [sample for _, samples in parts for sample in samples]))
    return torch.stack(gradients), state(head)


@pytest.mark.parametrize("scope", ["level", "batch"])
def test_the_ranks_train_as_one_process(results: list[dict], scope: str) -> None:
    expected, averages = alone(scope)
    assert all(expected.abs().amax(1) > 1e-3)
    for result in results:
        found, found_averages = result[scope, True]
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(found_averages, averages, rtol=1e-6, atol=1e-9)
        assert torch.equal(found_averages, results[0][scope, True][1])


@pytest.mark.parametrize("scope", ["level", "batch"])
def test_without_sync_they_do_not(results: list[dict], scope: str) -> None:
    expected, _ = alone(scope)
    assert not torch.allclose(results[0][scope, False][0], expected, rtol=0.01)
    assert not torch.allclose(results[0][scope, False][1], results[1][scope, False][1], rtol=0.01)


if __name__ == "__main__":
    rank_main(run_rank)
