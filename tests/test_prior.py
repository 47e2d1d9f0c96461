"""Positives counted by mmdet's heads, against anchors assigned with plain loops, and against the published priors."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import numpy
import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_detectors import faster_rcnn, retinanet
from tools.fork_server import forked_python
from tools.running import environment, write_shapes
from torch import nn
from torch.utils.data import Subset

from ghm_mmdet.errors import UserError
from ghm_mmdet.functional import optimal_bias
from ghm_mmdet.prior import find_dense_heads, init_cfg_with_prior, measure_priors

ALL_ANCHORS = {"model.train_cfg.rpn.sampler": dict(type="PseudoSampler", _delete_=True)}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("prior") / "data"
    write_shapes(root)
    return root


def parts(cfg):
    model, dataset = MODELS.build(cfg.model), DATASETS.build(cfg.train_dataloader.dataset)
    return model, find_dense_heads(model), dataset


def measure(cfg, **options):
    return measure_priors(*parts(cfg), **options)


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def naive_count(anchors, boxes, pos, neg, least):
    """Positives, and positives and negatives, of one image, by the rule of the Faster R-CNN paper.

    Coordinates in float32, as mmdet's, or two anchors would not be equally good for an object.
    """
    table = [[overlap(anchor, box) for box in boxes] for anchor in anchors]
    best = [max(row) for row in table]
    positive = {i for i, value in enumerate(best) if value >= pos}
    for j in range(len(boxes)):
        highest = max(row[j] for row in table)
        if highest >= least:
            positive |= {i for i, row in enumerate(table) if row[j] == highest}
    negative = {i for i, value in enumerate(best) if value < neg} - positive
    return len(positive), len(positive) + len(negative)


@pytest.mark.parametrize(
    ("detector", "options", "thresholds"),
    [(retinanet, {}, (0.5, 0.4, 0)), (faster_rcnn, ALL_ANCHORS, (0.7, 0.3, 0.3))],
)
def test_counts_equal_a_naive_assignment(tmp_path, data, detector, options, thresholds):
    cfg = detector(tmp_path, data, **options)
    model, (dense,), dataset = parts(cfg)
    (prior,) = measure_priors(model, [dense], dataset)
    sizes = [(-(-64 // stride), -(-64 // stride)) for _, stride in dense.head.prior_generator.strides]
    anchors = list(torch.cat(dense.head.prior_generator.grid_priors(sizes, device="cpu")).numpy())
    counts = [
        naive_count(anchors, item["data_samples"].gt_instances.bboxes.tensor.numpy(), *thresholds) for item in dataset
    ]
    assert (prior.num_pos, prior.num_samples) == tuple(map(sum, zip(*counts)))
    assert prior.num_classes == (3 if detector is retinanet else 1)
    assert prior.images == prior.total_images == 8
    assert prior.bias == optimal_bias(prior.num_pos, prior.num_samples, prior.num_classes)


def test_an_image_is_padded_as_in_training(tmp_path, data):
    """An image of 40x64 gets the anchors of 64x64."""
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="Resize", scale=(64, 40), keep_ratio=False),
        dict(type="PackDetInputs"),
    ]
    cfg = retinanet(tmp_path, data, **{"train_dataloader.dataset.pipeline": pipeline})
    model, (dense,), dataset = parts(cfg)
    dense.head.assigner.neg_iou_thr = dense.head.assigner.pos_iou_thr  # nothing is ignored
    (prior,) = measure_priors(model, [dense], dataset)
    places = sum((-(-64 // stride)) ** 2 for _, stride in dense.head.prior_generator.strides)
    assert prior.num_samples == 8 * dense.head.num_base_priors * places


def test_a_sampler_counts_what_it_samples(tmp_path, data):
    (sampled,), (every,) = measure(faster_rcnn(tmp_path, data)), measure(faster_rcnn(tmp_path, data, **ALL_ANCHORS))
    assert sampled.num_samples == 8 * 256 and sampled.num_pos == every.num_pos
    assert sampled.bias > every.bias


HEADS = {
    "ATSSHead": ("atss/atss_r50_fpn_1x_coco.py", "atss_cls"),
    "FCOSHead": ("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", "conv_cls"),
    "GFLHead": ("gfl/gfl_r50_fpn_1x_coco.py", "gfl_cls"),
    "PAAHead": ("paa/paa_r50_fpn_1x_coco.py", "atss_cls"),
    "GARetinaHead": ("guided_anchoring/ga-retinanet_r50_fpn_1x_coco.py", "retina_cls"),
    "RepPointsHead": ("reppoints/reppoints-moment_r50_fpn_1x_coco.py", "reppoints_cls_out"),
    "SABLRetinaHead": ("sabl/sabl-retinanet_r50_fpn_1x_coco.py", "retina_cls"),
    "VFNetHead": ("vfnet/vfnet_r50_fpn_1x_coco.py", "vfnet_cls"),
    "RetinaSepBNHead": ("nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco.py", "retina_cls"),
}


def head_of_mmdet(name):
    import mmdet

    init_default_scope("mmdet")
    cfg = Config.fromfile(Path(mmdet.__file__).parent / ".mim" / "configs" / HEADS.get(name, (name,))[0])
    cfg.model.backbone.init_cfg = None
    if cfg.model.backbone.type == "ResNet" and cfg.model.get("neck", {}).get("type") == "FPN":
        cfg.model.backbone.base_channels, cfg.model.neck.in_channels = 8, [32, 64, 128, 256]
    return MODELS.build(cfg.model)


@pytest.mark.parametrize("name", HEADS)
def test_other_dense_heads(data, tmp_path, name):
    model = head_of_mmdet(name)
    model.init_weights()
    (dense,) = find_dense_heads(model)
    assert type(dense.head).__name__ == name and dense.layer == HEADS[name][1]
    dataset = DATASETS.build(retinanet(tmp_path, data).train_dataloader.dataset)
    (prior,) = measure_priors(model, [dense], dataset, batch_size=4)
    assert 0 < prior.num_pos < prior.num_samples


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("ssd/ssd300_coco.py", "bbox_head (SSDHead) classifies with a softmax"),
        ("detr/detr_r50_8xb2-150e_coco.py", "bbox_head (DETRHead) is no dense head"),
        ("yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py", "bbox_head (YOLOV3Head) is no dense head that classifies"),
        ("yolox/yolox_tiny_8xb8-300e_coco.py", "bbox_head (YOLOXHead) is no dense head that classifies"),
        ("fast_rcnn/fast-rcnn_r50_fpn_1x_coco.py", "FastRCNN has no bbox_head and no rpn_head"),
        (
            "centernet/centernet-update_r50-caffe_fpn_ms-1x_coco.py",
            "the loss_cls of bbox_head (CenterNetUpdateHead), GaussianFocalLoss, does not take the logits",
        ),
    ],
)
def test_heads_without_a_prior_are_named(config, expected):
    with pytest.raises(UserError) as error:
        find_dense_heads(head_of_mmdet(config))
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("free_anchor/freeanchor_r50_fpn_1x_coco.py", "(FreeAnchorRetinaHead) weighs the elements of its"),
        ("autoassign/autoassign_r50-caffe_fpn_1x_coco.py", "(AutoAssignHead) weighs the elements of its"),
        ("fsaf/fsaf_r50_fpn_1x_coco.py", "(FSAFHead) weighs the elements of its"),
        # Two reasons hold, and which one is met first depends on the random weights.
        ("tood/tood_r50_fpn_1x_coco.py", "(TOODHead) "),
        (
            "yolof/yolof_r50-c5_8xb8-1x_coco.py",
            "(YOLOFHead) gives its loss_cls something else than the output of cls_s",
        ),
    ],
)
def test_heads_that_train_on_something_else_are_named(data, tmp_path, config, expected):
    model = head_of_mmdet(config)
    model.init_weights()
    dense = find_dense_heads_with_sigmoid(model)
    dataset = DATASETS.build(retinanet(tmp_path, data).train_dataloader.dataset)
    with pytest.raises(UserError) as error:
        measure_priors(model, dense, dataset, batch_size=2, max_images=2)
    assert f"bbox_head {expected}" in str(error.value)


def find_dense_heads_with_sigmoid(model):
    """QualityFocalLoss(activated=True) of TOOD is refused earlier; here it is to get to the counting."""
    model.bbox_head.loss_cls.activated = False
    return find_dense_heads(model)


def test_a_layer_is_found_by_its_channels_or_named(tmp_path, data):
    model = MODELS.build(retinanet(tmp_path, data).model)
    head = model.bbox_head
    head.cls_prob = nn.Conv2d(16, 5, 1)
    assert find_dense_heads(model)[0].layer == "retina_cls"
    head.cls_extra = nn.Conv2d(16, 27, 1)
    with pytest.raises(UserError, match=r"2 layers .*retina_cls, cls_extra"):
        find_dense_heads(model)
    assert find_dense_heads(model, "bbox_head.cls_extra")[0].convs == (head.cls_extra,)
    del head.cls_extra
    head.multi_level_cls, head.retina_cls = nn.ModuleList(nn.Conv2d(16, 27, 1) for _ in range(5)), nn.Identity()
    assert len(find_dense_heads(model)[0].convs) == 5
    del head.multi_level_cls
    with pytest.raises(UserError, match=r"bbox_head \(RetinaHead\) has no layer that is its last classification"):
        find_dense_heads(model)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("bbox_head.gone", "has no layer 'gone'"),
        ("bbox_head", "is no convolution with the 27 channels"),
        ("bbox_head.retina_reg", "is no convolution with the 27 channels"),
        ("neck.lateral_convs.0", "neck (FPN) is no dense head"),
        ("gone.conv", "RetinaNet has no gone"),
    ],
)
def test_a_wrong_module_is_named(tmp_path, data, module, expected):
    with pytest.raises(UserError) as error:
        find_dense_heads(MODELS.build(retinanet(tmp_path, data).model), module)
    assert expected in str(error.value)


def test_a_layer_without_bias_is_named(tmp_path, data):
    model = MODELS.build(retinanet(tmp_path, data).model)
    model.bbox_head.retina_cls = nn.Conv2d(16, 27, 1, bias=False)
    with pytest.raises(UserError, match=r"bbox_head \(RetinaHead\): .* retina_cls has no bias"):
        find_dense_heads(model)


def test_images_are_evenly_spaced(tmp_path, data):
    cfg = retinanet(tmp_path, data)
    (some,) = measure(cfg, max_images=3)
    cfg.train_dataloader.dataset.indices = [0, 2, 5]
    (those,) = measure(cfg)
    assert (some.images, some.total_images) == (3, 8)
    assert (some.num_pos, some.num_samples) == (those.num_pos, those.num_samples)
    assert measure(retinanet(tmp_path, data), max_images=99) == measure(retinanet(tmp_path, data))


@pytest.mark.parametrize("max_images", [0, -1, 2.5, True])
def test_bad_max_images_is_named(tmp_path, data, max_images):
    with pytest.raises(UserError, match="max_images") as error:
        measure(retinanet(tmp_path, data), max_images=max_images)
    assert repr(max_images) in str(error.value)


def test_no_positive_is_named(tmp_path, data):
    model, heads, dataset = parts(faster_rcnn(tmp_path, data, **ALL_ANCHORS))
    heads[0].head.assigner.pos_iou_thr = heads[0].head.assigner.min_pos_iou = 0.999
    with pytest.raises(UserError, match=r"rpn_head \(RPNHead\) has no optimal bias over 8 images: num_pos is 0"):
        measure_priors(model, heads, dataset)


def test_no_data_is_named(tmp_path, data):
    model, heads, dataset = parts(retinanet(tmp_path, data))
    with pytest.raises(UserError, match="training data is empty"):
        measure_priors(model, heads, Subset(dataset, []))


def randoms():
    return [random.random(), numpy.random.rand(), torch.rand(1).item()]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_random_state_and_result_do_not_depend_on_each_other(tmp_path, data, num_workers):
    flips = dict(type="RandomResize", scale=[(48, 48), (96, 96)], keep_ratio=True)
    pipeline = retinanet(tmp_path, data).pipeline
    pipeline[2] = flips
    cfg = faster_rcnn(tmp_path, data, **{"train_dataloader.dataset.pipeline": pipeline})
    results = set()
    for seed in (1, 2):
        random.seed(seed), numpy.random.seed(seed), torch.manual_seed(seed)
        expected = randoms()
        random.seed(seed), numpy.random.seed(seed), torch.manual_seed(seed)
        model, heads, dataset = parts(cfg)
        random.seed(seed), numpy.random.seed(seed), torch.manual_seed(seed)
        results.add(tuple(measure_priors(model, heads, dataset, num_workers=num_workers)))
        assert randoms() == expected
    assert len(results) == 1


def test_the_data_set_keeps_its_state(tmp_path, data):
    """CachedMosaic collects images in the transform itself."""
    pipeline = retinanet(tmp_path, data).pipeline
    mosaic = [dict(type="CachedMosaic", img_scale=(64, 64), random_pop=False), dict(type="Resize", scale=(64, 64))]
    options = {"train_dataloader.dataset.pipeline": [*pipeline[:2], *mosaic, pipeline[-1]]}
    model, heads, dataset = parts(retinanet(tmp_path, data, **options))
    measure_priors(model, heads, dataset)
    assert dataset.pipeline.transforms[2].results_cache == []


RANK = """
import sys
from pathlib import Path
import torch.distributed
from mmengine.runner import Runner
from small_detectors import retinanet
from ghm_mmdet.prior import find_dense_heads, measure_priors
from ghm_mmdet.hooks import OptimalBiasInitHook
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
folder = Path(sys.argv[2]) / str(rank)
folder.mkdir()
runner = Runner.from_cfg(retinanet(folder, Path(sys.argv[1])))
model, dataset = runner.model, runner.train_dataloader.dataset
(folder / "prior").write_text(str(measure_priors(model, find_dense_heads(model), dataset, max_images=5)[0]))
OptimalBiasInitHook(max_images=5).before_train(runner)
(folder / "bias").write_text(" ".join(map(str, model.bbox_head.retina_cls.bias.tolist())))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_ranks_share_the_images_and_agree(tmp_path, data):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    launch = [forked_python(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script]
    tests = Path(__file__).resolve().parent
    path = f"{tests}{os.pathsep}{tests.parent}"
    done = subprocess.run(
        [*launch, data, tmp_path], capture_output=True, text=True, timeout=300, env=environment(PYTHONPATH=path)
    )
    assert done.returncode == 0, done.stderr
    (alone,) = measure(retinanet(tmp_path, data), max_images=5)
    for rank in ("0", "1"):
        assert (tmp_path / rank / "prior").read_text() == str(alone)
        bias = [float(value) for value in (tmp_path / rank / "bias").read_text().split()]
        assert bias == pytest.approx([alone.bias] * 27)


@pytest.mark.parametrize(("detector", "name"), [(retinanet, "bbox_head"), (faster_rcnn, "rpn_head")])
def test_init_cfg_gives_the_measured_bias(tmp_path, data, detector, name):
    cfg = detector(tmp_path, data)
    model, (dense,), dataset = parts(cfg)
    (prior,) = measure_priors(model, [dense], dataset)
    cfg.model[name].init_cfg = init_cfg_with_prior(dense, prior)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    layer = getattr(getattr(model, name), dense.layer)
    assert layer.bias.tolist() == pytest.approx([prior.bias] * len(layer.bias), abs=1e-3)
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize(
    ("detector", "loss_cls"), [(retinanet, "loss_cls"), (faster_rcnn, "loss_rpn_cls")], ids=["RetinaNet", "RPN"]
)
def test_the_first_loss_is_below_that_of_other_biases(tmp_path, data, detector, loss_cls):
    options = {} if detector is retinanet else ALL_ANCHORS
    model, (dense,), dataset = parts(detector(tmp_path, data, **options))
    torch.manual_seed(0)
    model.init_weights()
    (prior,) = measure_priors(model, [dense], dataset)
    images = [dataset[index] for index in range(8)]
    losses = {}
    for bias in (prior.bias, 0.0, optimal_bias(1, 100)):
        nn.init.constant_(dense.convs[0].bias, bias)
        batch = {key: [image[key] for image in images] for key in images[0]}
        with torch.no_grad():
            losses[bias] = sum(model(**model.data_preprocessor(batch, True), mode="loss")[loss_cls]).item()
    assert min(losses, key=losses.get) == prior.bias


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "options", "published"),
    [
        ("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", {}, 1e-5),
        ("mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py", ALL_ANCHORS, 2e-4),
    ],
)
def test_real_images_come_near_the_published_prior(tmp_path, tiny_coco_root, config, options, published):
    path = tmp_path / "config.py"
    path.write_text(f'_base_ = "{config}"\nmodel = dict(backbone=dict(init_cfg=None))\n')
    cfg = Config.fromfile(path)
    cfg.merge_from_dict({"train_dataloader.dataset.data_root": str(tiny_coco_root), **options})
    init_default_scope("mmdet")
    (prior,) = measure(cfg)
    assert published / 3 < prior.probability < published * 3
