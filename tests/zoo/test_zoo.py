"""GHM-C and GHM-R in thin copies of mmdet's detectors; docs/detectors.md says what 'works' means."""

from __future__ import annotations

import logging
import re

import pytest
import torch
from mmdet.models.losses import CrossEntropyLoss
from mmdet.registry import MODELS
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from zoo.families import FAMILIES
from zoo.harness import (
    WitnessCrossEntropy,
    batch_of,
    build,
    ghm_of,
    gradients,
    limits,
    listed_rows,
    replaceable,
    row,
    thin_config,
    try_family,
)

from ghm_mmdet.config import build_part
from ghm_mmdet.errors import UserError

MUST_WORK = ("rtmdet", "yolox", "tood", "gfl", "vfnet", "dino", "deformable_detr", "yolov3")


LAYERS = ("retina_cls", "rtm_cls", "multi_level_conv_cls", "multi_level_conv_obj")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    yield
    torch.set_num_threads(threads)
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FAMILIES)
def test_the_table_says_what_happens(name):
    """Nothing is wrong in silence: the losses' limit has the gradients of mmdet's, or the loss or the check refuses."""
    assert row(name, try_family(FAMILIES[name])) == listed_rows()[name], "run python tests/zoo/harness.py --write"


def test_the_table_is_whole():
    rows = listed_rows()
    assert set(rows) == {"family", "---", *FAMILIES} and len(FAMILIES) >= 60
    for name in MUST_WORK:
        assert rows[name].split("|")[3].strip().startswith("works")
    raw = [line for line in rows.values() if re.search(r"Error|unexpected keyword|no attribute", line)]
    assert not raw, "a refusal in Python's words"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "witness"), [
    ("retinanet", CrossEntropyLoss), ("yolox", CrossEntropyLoss), ("rtmdet", WitnessCrossEntropy)
])  # fmt: skip
def test_one_region_has_the_gradient_of_cross_entropy_at_the_classification_layer(name, witness):
    """The head's own division included. mmdet's loss cannot take RTMDet's pairs, so a witness makes one target of them.

    The objectness of YOLOX is a classification of its own.
    """
    init_default_scope("mmdet")
    MessageHub.get_current_instance().update_info("epoch", 10)
    family = FAMILIES[name]
    config = thin_config(family)
    for kind, node, key, loss in list(replaceable(config, family)):
        if kind == "GHM-C":
            node[key] = ghm_of(kind, loss)
    model = build(config)
    ours, theirs = (gradients(limit, batch_of(family, model, [4, 3])) for limit in limits(model, witness, "avg_factor"))
    layers = [layer for layer in theirs if any(part in layer for part in LAYERS)]
    assert len(layers) >= 2
    for layer in layers:
        assert theirs[layer].abs().max() > 0
        torch.testing.assert_close(ours[layer], theirs[layer], rtol=1e-5, atol=1e-5 * float(theirs[layer].abs().max()))


@pytest.mark.parametrize(("name", "reason"), [
    ("maskformer", "MaskFormerHead reads class_weight of its loss_cls"), ("ssd", "SSDHead takes no loss_cls"),
    ("dynamic_rcnn", "DynamicRoIHead takes no loss_bbox but SmoothL1Loss"),
])  # fmt: skip
def test_what_cannot_be_built_is_said_without_a_traceback(name, reason):
    init_default_scope("mmdet")
    config = thin_config(FAMILIES[name])
    for kind, node, key, loss in list(replaceable(config, FAMILIES[name])):
        node[key] = ghm_of(kind, loss)
    if name == "ssd":
        config.bbox_head.loss_cls = ghm_of("GHM-C", dict(type="FocalLoss"))
    with pytest.raises(UserError, match=f"model: .*{reason}"):
        build_part(MODELS, config, "model")
