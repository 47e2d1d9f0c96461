"""GradientNormHook in real runs, against loops over what the losses were given."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import cv2
import numpy
import oracles
import pytest
import torch
from gradient_witness import ONE_EPOCH, Witness, train
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import VISBACKENDS
from mmengine.runner import Runner
from mmengine.visualization import BaseVisBackend
from small_detectors import faster_rcnn, retinanet
from tools.fork_server import forked_python
from tools.running import environment, write_shapes
from torch.utils._python_dispatch import TorchDispatchMode

from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints
from ghm_mmdet.cli.amp import CPUAmpOptimWrapper
from ghm_mmdet.errors import UserError
from ghm_mmdet.gradient_norms.log import FILE_NAME, read_records
from ghm_mmdet.hooks import GradientNormHook

GHMC = dict(type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=2.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    allow_mmengine_checkpoints()
    root = tmp_path_factory.mktemp("gradients") / "data"
    write_shapes(root)
    return root


def records_of(runner: Runner) -> list:
    return read_records(runner.work_dir)[0]


def elements_of(call, classes) -> tuple[list, list, list]:
    """Logits, targets and validity of a call, element by element."""
    logits, labels, weight = call[:3]
    valid = [bool(w > 0) for w in weight.tolist() for _ in range(classes)]
    return logits.flatten().tolist(), oracles.one_hot(labels.tolist(), classes), valid


@pytest.mark.parametrize(
    "head",
    [
        {"loss_cls": GHMC},
        {
            "loss_cls": dict(GHMC, momentum=0.0, max_weight=30.0),
            "type": "ghm_mmdet.RetinaHead",
            "density_scope": "batch",
        },
    ],
    ids=["level", "batch"],
)
def test_ghm_c_has_the_counts_weights_and_shares_of_loops(tmp_path, data, head):
    witness = Witness()
    cfg = retinanet(tmp_path, data)
    loss = head["loss_cls"]
    for name, value in head.items():
        cfg.model.bbox_head[name] = value
    records = records_of(train(cfg, witness=witness, interval=1))
    assert [record.iteration for record in records] == [1, 2, 3, 4]
    average = oracles.MovingAverage(30, loss["momentum"])
    for record, calls in zip(records, witness.iterations):
        counts, norms, weighted, gradients = ([0.0] * 30 for _ in range(4))
        calls = calls["bbox_head.loss_cls"]
        assert len(calls) == (1 if "type" in head else 4)
        for call in calls:
            logits, targets, valid = elements_of(call, 3)
            total = max(sum(valid), 1)
            g = [abs(oracles.sigmoid(x) - t) for x, t in zip(logits, targets)]
            beta = oracles.region_weights(g, valid, total, 30, average, loss.get("max_weight", math.inf))
            for norm, b, v in zip(g, beta, valid):
                j = oracles.region(norm, 30)
                counts[j] += v
                norms[j] += norm * v
                weighted[j] += b * norm
                gradients[j] += b * norm / total
        got = record.losses["bbox_head.loss_cls"]
        assert (got.kind, got.type) == ("classification", "GHMC")
        assert got.count == counts
        expected = [w / n if n else 0 for w, n in zip(weighted, norms)]
        assert got.weight == pytest.approx(expected, rel=1e-3)
        assert got.share == pytest.approx([x / sum(gradients) for x in gradients], rel=1e-3, abs=1e-8)


def test_ghm_r_has_the_counts_weights_and_shares_of_loops(tmp_path, data):
    witness = Witness()
    cfg = retinanet(tmp_path, data)
    cfg.model.bbox_head.loss_bbox.momentum = 0.0
    records = records_of(train(cfg, witness=witness, interval=2))
    assert [record.iteration for record in records] == [1, 2, 4]
    for record in records:
        calls = witness.iterations[record.iteration - 1]["bbox_head.loss_bbox"]
        check_ghm_r(record.losses["bbox_head.loss_bbox"], [call[:3] for call in calls])


def check_ghm_r(got, calls) -> None:
    counts, norms, weighted, gradients = ([0.0] * 10 for _ in range(4))
    for pred, target, weight in calls:
        d = (pred - target).flatten().tolist()
        valid = (weight > 0).flatten().tolist()
        g = [abs(x) / math.hypot(x, 0.02) for x in d]
        total = max(sum(valid), 1)
        for norm, b, v in zip(g, oracles.region_weights(g, valid, total, 10), valid):
            j = oracles.region(norm, 10)
            counts[j] += v
            norms[j] += norm * v
            weighted[j] += b * norm
            gradients[j] += b * norm / total
    assert (got.kind, got.type, got.count) == ("regression", "GHMR", counts)
    assert got.weight == pytest.approx([w / n if n else 0 for w, n in zip(weighted, norms)], rel=1e-3)
    assert got.share == pytest.approx([x / sum(gradients) for x in gradients], rel=1e-3, abs=1e-8)


def focal(x: float, t: float) -> float:
    """Size of the derivative of mmdet's FocalLoss, as a difference quotient."""

    def loss(x):
        p_t = oracles.sigmoid(x if t else -x)
        return -(0.25 if t else 0.75) * (1 - p_t) ** 2 * math.log(p_t)

    return abs(loss(x + 1e-4) - loss(x - 1e-4)) / 2e-4


@pytest.mark.parametrize(
    ("loss", "size"),
    [
        (dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=3.0), lambda x, t: abs(oracles.sigmoid(x) - t)),
        (dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0), focal),
    ],
    ids=["cross-entropy", "focal"],
)
def test_stock_losses(tmp_path, data, loss, size):
    witness = Witness()
    cfg = retinanet(tmp_path, data)
    cfg.model.bbox_head.loss_cls = loss
    cfg.model.bbox_head.loss_bbox = dict(type="SmoothL1Loss", beta=0.11, loss_weight=1.0)
    records = records_of(train(cfg, witness=witness, interval=4, bins=6, mu=0.1))
    assert [record.iteration for record in records] == [1, 4]
    for record in records:
        counts, gradients = [0.0] * 6, [0.0] * 6
        for call in witness.iterations[record.iteration - 1]["bbox_head.loss_cls"]:
            for x, t, v in zip(*elements_of(call, 3)):
                j = oracles.region(abs(oracles.sigmoid(x) - t), 6)
                counts[j] += v
                gradients[j] += v * size(x, t)
        got = record.losses["bbox_head.loss_cls"]
        assert got.count == counts
        assert got.share == pytest.approx([x / sum(gradients) for x in gradients], rel=1e-3, abs=1e-7)
        box = record.losses["bbox_head.loss_bbox"]
        counts, gradients = [0] * 6, [0.0] * 6
        for pred, target, weight, _ in witness.iterations[record.iteration - 1]["bbox_head.loss_bbox"]:
            for d, w in zip((pred - target).flatten().tolist(), weight.flatten().tolist()):
                j = oracles.region(abs(d) / math.hypot(d, 0.1), 6)
                counts[j] += w > 0
                gradients[j] += w * min(abs(d) / 0.11, 1)
        assert box.type == "SmoothL1Loss" and box.count == counts
        assert box.share == pytest.approx([x / sum(gradients) for x in gradients], rel=1e-3)


def test_the_weight_of_plain_cross_entropy_over_all_anchors_is_flat(tmp_path, data):
    """density_scope='batch' makes it one call: the elements' number over avg_factor, everywhere."""
    witness = Witness()
    cfg = retinanet(tmp_path, data)
    cfg.model.bbox_head.update(type="ghm_mmdet.RetinaHead", density_scope="batch")
    (record,) = records_of(train(cfg, witness=witness, interval=100, losses=["bbox_head.loss_cls"]))
    assert list(record.losses) == ["bbox_head.loss_cls"]
    loss = record.losses["bbox_head.loss_cls"]
    weights = [weight for weight, count in zip(loss.weight, loss.count) if count]
    assert len(weights) > 1 and weights == pytest.approx([weights[0]] * len(weights), rel=1e-4)
    ((_, labels, _, _),) = witness.iterations[0]["bbox_head.loss_cls"]
    positives = int((labels < 3).sum())
    assert weights[0] == pytest.approx(sum(loss.count) / positives, rel=1e-4)


def test_faster_rcnn_sampled_anchors_and_softmax(tmp_path, data):
    witness = Witness()
    cfg = faster_rcnn(tmp_path, data)
    cfg.model.roi_head.bbox_head.loss_cls = dict(type="ghm_mmdet.GHMC", bins=30, momentum=0, use_sigmoid=False)
    record = records_of(train(cfg, witness=witness, interval=100))[0]
    assert list(record.losses) == [
        "rpn_head.loss_cls", "rpn_head.loss_bbox", "roi_head.bbox_head.loss_cls", "roi_head.bbox_head.loss_bbox",
    ]  # fmt: skip
    # 256 anchors of both images, one logit each.
    assert sum(record.losses["rpn_head.loss_cls"].count) == 2 * 256
    assert record.losses["rpn_head.loss_bbox"].type == "L1Loss"
    ((logits, labels, weight, _),) = witness.iterations[0]["roi_head.bbox_head.loss_cls"]
    g = [1 - oracles.softmax(row)[label] for row, label in zip(logits.tolist(), labels.tolist())]
    valid = (weight > 0).tolist()
    beta = oracles.region_weights(g, valid, sum(valid), 30)
    counts, sizes, expected = [0] * 30, [0.0] * 30, [0.0] * 30
    for norm, b, v in zip(g, beta, valid):
        j = oracles.region(norm, 30)
        counts[j] += v
        sizes[j] += b * norm
        expected[j] = b or expected[j]
    softmax = record.losses["roi_head.bbox_head.loss_cls"]
    assert softmax.count == counts
    assert softmax.weight == pytest.approx(expected, rel=1e-3)
    assert softmax.share == pytest.approx([size / sum(sizes) for size in sizes], rel=1e-3)


def test_soft_targets(tmp_path, data):
    """The clean RPN's labels are anything between 0 and 1."""
    cfg = faster_rcnn(tmp_path, data)
    cfg.model.rpn_head.update(type="ghm_mmdet.CleanRPNHead", alpha=0.5)
    cfg.model.rpn_head.loss_cls = dict(type="ghm_mmdet.GHMC", bins=30, use_sigmoid=True)
    cfg.model.train_cfg.rpn.assigner = dict(type="ghm_mmdet.TopNIoUAssigner", num=20)
    cfg.model.train_cfg.rpn.sampler = dict(type="PseudoSampler")
    witness = Witness()
    record = records_of(train(cfg, witness=witness, interval=100))[0]
    loss = record.losses["rpn_head.loss_cls"]
    counts, shares, soft = [0] * 30, [0.0] * 30, 0
    for logits, targets, weight, gradient in witness.iterations[0]["rpn_head.loss_cls"]:
        assert targets.shape == logits.shape
        soft += sum(0 < t < 1 for t in targets.flatten().tolist())
        valid = (weight > 0).flatten().tolist()
        for x, t, v, size in zip(
            logits.flatten().tolist(), targets.flatten().tolist(), valid, gradient.abs().flatten().tolist()
        ):
            j = oracles.region(abs(oracles.sigmoid(x) - t), 30)
            counts[j] += v
            shares[j] += size
    assert soft > 0 and loss.count == counts
    assert loss.share == pytest.approx([share / sum(shares) for share in shares], rel=1e-3, abs=1e-7)


HEADS = {
    "FCOS": dict(
        type="FCOSHead", num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1, strides=[8, 16, 32, 64],
        regress_ranges=((-1, 16), (16, 32), (32, 64), (64, 1e8)), norm_cfg=None,
        loss_cls=dict(type="FocalLoss", use_sigmoid=True), loss_bbox=dict(type="IoULoss"),
    ),
    "ATSS": dict(
        type="ATSSHead", num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1,
        norm_cfg=dict(type="GN", num_groups=4), bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
        anchor_generator=dict(type="AnchorGenerator", ratios=[1.0], octave_base_scale=4, scales_per_octave=1,
                              strides=[8, 16, 32, 64]),
        loss_cls=dict(type="ghm_mmdet.GHMC", use_sigmoid=True), loss_bbox=dict(type="GIoULoss"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("detector", HEADS)
def test_other_heads_have_their_classification_recorded(tmp_path, data, detector):
    cfg = retinanet(tmp_path, data)
    cfg.model.type, cfg.model.bbox_head = detector, HEADS[detector]
    if detector == "ATSS":
        cfg.model.train_cfg.assigner = dict(type="ATSSAssigner", topk=9)
    witness = Witness()
    runner = train(cfg, witness=witness, interval=100)
    (record,) = records_of(runner)
    assert list(record.losses) == ["bbox_head.loss_cls"]
    loss = record.losses["bbox_head.loss_cls"]
    calls = witness.iterations[0]["bbox_head.loss_cls"]
    assert len(calls) == (1 if detector == "FCOS" else 4)
    # Both images have 64 + 16 + 4 + 1 places, with three classes at each; weights of 0 or not is what FCOS leaves out.
    assert sum(loss.count) == 3 * sum(int((call[2] > 0).sum()) for call in calls) == 3 * 2 * 85
    gradients = torch.cat([call[3] for call in calls]).abs()
    norms = [abs(oracles.sigmoid(x) - t) for call in calls for x, t in zip(*elements_of(call, 3)[:2])]
    sizes = [0.0] * len(loss.count)
    for norm, size in zip(norms, gradients.flatten().tolist()):
        sizes[oracles.region(norm, len(sizes))] += size
    assert loss.share == pytest.approx([size / sum(sizes) for size in sizes], rel=1e-3, abs=1e-7)
    log = "".join(path.read_text() for path in Path(runner.work_dir).rglob("*.log"))
    assert "GradientNormHook: left out bbox_head.loss_bbox (" in log


QUERIES = {
    "DETR": ("detr/detr_r18_8xb2-500e_coco.py", {}),
    "DINO": ("dino/dino-4scale_r50_8xb2-12e_coco.py", dict(num_queries=20)),
}


@pytest.mark.parametrize("name", QUERIES)
def test_losses_that_share_a_prediction_are_told_apart(tmp_path, data, name):
    """L1 and GIoU loss are given the same boxes; the size of L1's gradient is the same for each coordinate."""
    path, options = QUERIES[name]
    (tmp_path / "queries.py").write_text(f'_base_ = "mmdet::{path}"')
    model = Config.fromfile(tmp_path / "queries.py").model
    model.update(backbone=dict(model.backbone, init_cfg=None), **options)
    model.bbox_head.num_classes, model.encoder.num_layers, model.decoder.num_layers = 3, 1, 2
    cfg = retinanet(tmp_path, data)
    cfg.model = model
    witness = Witness()
    (record, *_) = records_of(train(cfg, witness=witness, interval=100, losses=["bbox_head.loss_bbox"]))
    counts, shares = [0] * 30, [0.0] * 30
    for pred, target, weight, _ in witness.iterations[0]["bbox_head.loss_bbox"]:
        matched = int((weight[:, 0] > 0).sum())
        for d, w in zip((pred - target).flatten().tolist(), weight.flatten().tolist()):
            if w:
                j = oracles.region(abs(d) / math.hypot(d, 0.02), 30)
                counts[j] += 1
                shares[j] += w / matched * (d != 0)
    loss = record.losses["bbox_head.loss_bbox"]
    assert loss.count == counts and sum(counts) > 0
    assert loss.share == pytest.approx([share / sum(shares) for share in shares], rel=1e-3)


class Operators(Hook):
    """Names of the operators of each iteration, forward and backward."""

    priority = "LOWEST"

    def __init__(self):
        self.iterations: list[list[str]] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        seen: list[str] = []

        class Mode(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                seen.append(str(function))
                return function(*args, **(kwargs or {}))

        self.iterations.append(seen)
        self.mode = Mode()
        self.mode.__enter__()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.mode.__exit__(None, None, None)


def test_between_the_records_not_one_operator_is_added(tmp_path, data):
    seen = {}
    for name, interval in (("seldom", 3), ("never", 100)):
        (tmp_path / name).mkdir()
        operators = Operators()
        train(retinanet(tmp_path / name, data), witness=operators, interval=interval)
        seen[name] = operators.iterations
    (tmp_path / "without").mkdir()
    cfg = retinanet(tmp_path / "without", data)
    cfg.merge_from_dict(ONE_EPOCH)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    runner = Runner.from_cfg(cfg)
    without = Operators()
    runner.register_hook(without)
    runner.train()
    # In the first one GHMR looks for boxes in pixels, 12 operators, and SGD clones its momenta, to which it adds later.
    assert [len(iteration) for iteration in without.iterations[1:]] == [len(without.iterations[1])] * 3
    for index, recorded in enumerate([True, False, True, False]):
        same = sorted(seen["seldom"][index]) == sorted(without.iterations[index])
        assert same is not recorded
    assert all(sorted(seen["never"][i]) == sorted(without.iterations[i]) for i in (1, 2, 3))


@VISBACKENDS.register_module()
class StrictBackend(BaseVisBackend):
    """Takes numbers only, as TensorBoard and MLflow do, and pictures whose name says their format, as MLflow does."""

    seen: list[tuple] = []  # noqa: RUF012

    def _init_env(self):
        pass

    @property
    def experiment(self):
        return self

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        assert "step" not in scalar_dict
        assert all(type(value) in (int, float) for name, value in scalar_dict.items() if "/g" in name)
        self.seen.append(("scalars", step, scalar_dict))

    def add_image(self, name, image, step=0, **kwargs):
        assert name.endswith(".png") and image.dtype == numpy.uint8
        self.seen.append(("image", step, image.shape))


def test_all_goes_to_every_backend(tmp_path, data):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    cfg = retinanet(tmp_path, data)
    StrictBackend.seen.clear()
    cfg.visualizer.vis_backends = [
        dict(type="LocalVisBackend"),
        dict(type="TensorboardVisBackend"),
        dict(type="StrictBackend", name="MLflowVisBackend"),
    ]
    cfg.visualizer.name = "every_backend"
    runner = train(cfg, interval=2, image_interval=2)
    record = records_of(runner)[-1]
    names = {"bbox_head.loss_cls": 30, "bbox_head.loss_bbox": 10}
    expected = {
        f"{name}.{what}/g{j / bins:.2f}": value
        for name, bins in names.items()
        for what in ("count", "weight", "share")
        for j, value in enumerate(getattr(record.losses[name], what))
    }
    (vis_data,) = Path(runner.work_dir).glob("*/vis_data")
    local = [json.loads(line) for line in (vis_data / "scalars.json").read_text().splitlines()]
    assert {**expected, "step": 4} in local
    pictures = list((vis_data / "vis_image").glob("*"))
    assert len(pictures) == 1
    picture = cv2.imread(str(pictures[0]))
    assert picture.shape[2] == 3 and picture.std() > 10

    events = EventAccumulator(str(vis_data), size_guidance={"images": 0})
    events.Reload()
    assert {name.partition("/")[0] for name in expected} <= {
        name.partition("/")[0] for name in events.Tags()["scalars"]
    }
    for name, value in expected.items():
        assert [event.step for event in events.Scalars(name)] == [1, 2, 4]
        assert events.Scalars(name)[-1].value == pytest.approx(value, rel=1e-5)
    (tag,) = events.Tags()["images"]
    (image,) = events.Images(tag)
    decoded = cv2.imdecode(numpy.frombuffer(image.encoded_image_string, numpy.uint8), cv2.IMREAD_COLOR)
    assert image.step == 4 and (decoded == picture).all()

    of_hook = [
        entry for entry in StrictBackend.seen if entry[0] == "image" or any(name in entry[2] for name in expected)
    ]
    assert [entry[:2] for entry in of_hook] == [("scalars", 1), ("scalars", 2), ("scalars", 4), ("image", 4)]
    assert of_hook[2][2] == expected


def test_a_resumed_run_goes_on_in_the_same_file(tmp_path, data):
    cfg = retinanet(tmp_path, data)
    cfg.default_hooks.checkpoint.interval = 1
    runner = train(cfg, interval=2)
    path = Path(runner.work_dir) / FILE_NAME
    # Killed an iteration later, in the middle of writing.
    first = path.read_bytes()
    path.write_bytes(first + first[:100])
    (tmp_path / "again").mkdir()
    cfg = retinanet(tmp_path / "again", data, work_dir=runner.work_dir)
    cfg.custom_hooks = [dict(type="ghm_mmdet.GradientNormHook", interval=2)]
    cfg.merge_from_dict({"load_from": f"{runner.work_dir}/epoch_1.pth", "resume": True, "train_cfg.max_epochs": 2})
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    Runner.from_cfg(cfg).train()
    records, cut_off = read_records(runner.work_dir)
    assert [record.iteration for record in records] == [1, 2, 4, 6, 8] and cut_off == 0
    assert path.read_bytes().startswith(first)


def test_mixed_precision(tmp_path, data):
    cfg = retinanet(tmp_path, data)
    cfg.optim_wrapper.type = CPUAmpOptimWrapper.__name__
    witness = Witness()
    records = records_of(train(cfg, witness=witness, interval=1))
    assert len(records) == 4
    for record, calls in zip(records, witness.iterations):
        assert calls["bbox_head.loss_cls"][0][0].dtype == torch.bfloat16
        for loss in record.losses.values():
            assert sum(loss.share) == pytest.approx(1, rel=1e-4)
        weight = torch.cat([call[2] for call in calls["bbox_head.loss_cls"]])
        assert sum(record.losses["bbox_head.loss_cls"].count) == 3 * int((weight > 0).sum())


@pytest.mark.slow
def test_two_ranks_are_added_up_and_one_writes(tmp_path, data):
    code = "import sys, gradient_witness; gradient_witness.train_rank(int(sys.argv[1]), *sys.argv[2:])"
    env = environment(PYTHONPATH=str(Path(__file__).resolve().parents[1]))
    ranks = [subprocess.Popen([forked_python(), "-c", code, str(rank), tmp_path, data], env=env) for rank in range(2)]
    assert [rank.wait() for rank in ranks] == [0, 0]
    lines = (tmp_path / "run" / FILE_NAME).read_text().splitlines()
    records, _ = read_records(tmp_path / "run")
    # Eight images, two for each rank and iteration.
    assert len(lines) == 2 and [record.iteration for record in records] == [1, 2]
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for record, *calls in zip(records, *ranks):
        check_ghm_r(record.losses["bbox_head.loss_bbox"], calls[0] + calls[1])


class Overflow(Hook):
    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            loss = runner.model.bbox_head.loss_cls
            loss.register_forward_hook(lambda module, inputs, output: output * torch.inf)


def test_gradients_that_are_no_numbers_are_left_out(tmp_path, data):
    cfg = retinanet(tmp_path, data)
    cfg.optim_wrapper.pop("clip_grad")
    runner = train(cfg, witness=Overflow(2), interval=1)
    assert [record.iteration for record in records_of(runner)] == [1, 2]
    log = "".join(path.read_text() for path in Path(runner.work_dir).rglob("*.log"))
    assert "GradientNormHook: the gradients of iteration 3 are not finite, not recorded." in log


@pytest.mark.parametrize(
    ("hook", "options", "expected"),
    [
        ({"losses": ["rpn_head.loss_cls"]}, {}, "RetinaNet has no module 'rpn_head.loss_cls'"),
        (
            {"losses": ["bbox_head.loss_cls", "bbox_head.loss_bbox"]},
            {"loss_bbox": dict(type="GIoULoss")},
            "no gradient norms in bbox_head.loss_bbox (GIoULoss): it is neither",
        ),
        (
            {"losses": ["bbox_head.loss_cls"]},
            {"loss_cls": dict(type="QualityFocalLoss", use_sigmoid=True)},
            "no gradient norms in bbox_head.loss_cls (QualityFocalLoss): its targets are pairs",
        ),
        (
            {},
            {"loss_cls": dict(type="QualityFocalLoss", use_sigmoid=True), "loss_bbox": dict(type="GIoULoss")},
            "no gradient norms in bbox_head.loss_cls (QualityFocalLoss)",
        ),
    ],
)
def test_losses_that_cannot_be_read_are_named(tmp_path, data, hook, options, expected):
    cfg = retinanet(tmp_path, data)
    for name, value in options.items():
        cfg.model.bbox_head[name] = value
    with pytest.raises(UserError) as error:
        train(cfg, **hook)
    assert expected in str(error.value)
    assert not (tmp_path / "run" / FILE_NAME).exists()


class Scores(torch.nn.Module):
    """A loss that claims to be a classification and gets something else."""

    use_sigmoid = True

    def forward(self, pred, target, weight=None, avg_factor=None):
        return pred.sum()


def test_a_call_that_cannot_be_read_is_named(tmp_path, data):
    class Replace(Hook):
        priority = "HIGHEST"

        def before_train(self, runner):
            head = runner.model.bbox_head
            head.loss_cls = Scores()
            head.loss_cls.register_forward_pre_hook(lambda _, inputs: (inputs[0], inputs[1][:-1], *inputs[2:]))

    with pytest.raises(UserError) as error:
        train(retinanet(tmp_path, data), witness=Replace())
    assert "the gradient norms of bbox_head.loss_cls (Scores) cannot be read: target must hold" in str(error.value)
    assert "losses=[...] of GradientNormHook" in str(error.value)


@pytest.mark.parametrize(
    "argument",
    [
        {"interval": 0},
        {"interval": 2.5},
        {"image_interval": 0},
        {"losses": []},
        {"losses": "a"},
        {"bins": 0},
        {"mu": 0},
    ],
)
def test_bad_arguments_are_named(argument):
    with pytest.raises(ValueError, match=rf"{next(iter(argument))} must be"):
        GradientNormHook(**argument)
