"""A data set and a detector small enough to train in seconds, and ways to run the tools on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy
from tools.fork_server import TIMEOUT, fork_tool

from ghm_mmdet.__main__ import main

REPO = Path(__file__).resolve().parents[2]
CLASSES = ("disc", "square", "bar")

# Four levels: torch 2.12's bfloat16 convolution on the CPU reads uninitialised memory in the weight gradient of a
# padded 3x3 convolution over one pixel, which P7 would be for images of this size.
CONFIG = """
_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"
data_root = "{{{{$SHAPES_ROOT:{data}/}}}}"
metainfo = dict(classes=("disc", "square", "bar"))
model = dict(
    test_cfg=dict(score_thr=0.001),
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(depth=18, init_cfg=None, base_channels=8, frozen_stages=-1, norm_eval=False),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16, num_outs=4),
    bbox_head=dict(
        num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1,
        anchor_generator=dict(strides=[8, 16, 32, 64]),
        loss_cls=dict(_delete_=True, type="ghm_mmdet.GHMC", bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(_delete_=True, type="ghm_mmdet.GHMR", mu=0.02, bins=10, momentum=0.7, loss_weight=10.0)))
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(64, 64), keep_ratio=True),
    dict(type="PackDetInputs",
         meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")),
]
data_set = dict(data_root=data_root, ann_file="annotations.json", data_prefix=dict(img="images/"),
                metainfo=metainfo, pipeline=pipeline)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=data_set)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=data_set)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations.json")
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=2, val_interval=100)
param_scheduler = dict(_delete_=True, type="ConstantLR", factor=1.0, by_epoch=True)
optim_wrapper = dict(optimizer=dict(lr=0.01), clip_grad=dict(max_norm=35))
default_hooks = dict(logger=dict(interval=1))
randomness = dict(seed=0)
"""


def write_shapes(root: Path, images: int = 8) -> None:
    """Bright discs, squares and bars on noise, in COCO format."""
    (root / "images").mkdir(parents=True)
    random = numpy.random.default_rng(0)
    content = {"images": [], "annotations": [], "categories": [{"id": i + 1, "name": n} for i, n in enumerate(CLASSES)]}
    for number in range(images):
        image = random.integers(0, 90, (64, 64, 3), dtype=numpy.uint8)
        for kind in range(3):
            x, y = (int(value) for value in random.integers(0, 32, 2))
            w, h = (24, 24) if kind < 2 else (28, 12)
            if kind == 0:
                cv2.circle(image, (x + 12, y + 12), 12, (255, 80, 80), -1)
            else:
                cv2.rectangle(image, (x, y), (x + w, y + h), (80, 255, 80) if kind == 1 else (80, 80, 255), -1)
            box = {"bbox": [x, y, w, h], "area": w * h, "iscrowd": 0, "category_id": kind + 1}
            content["annotations"].append({"id": 3 * number + kind + 1, "image_id": number + 1, **box})
        cv2.imwrite(str(root / "images" / f"{number}.png"), image)
        content["images"].append({"id": number + 1, "file_name": f"{number}.png", "width": 64, "height": 64})
    (root / "annotations.json").write_text(json.dumps(content))


def write_voc(root: Path, change: Callable[[str], str] = lambda text: text) -> None:
    """The shapes that lie in a folder in COCO's format, in VOC's beside them, the text of each XML file changed."""
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir()
    content = json.loads((root / "annotations.json").read_text())
    for image in content["images"]:
        name = image["file_name"].removesuffix(".png")
        cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), cv2.imread(str(root / "images" / f"{name}.png")))
        objects = ""
        for entry in content["annotations"]:
            if entry["image_id"] == image["id"]:
                x, y, w, h = entry["bbox"]
                corners = dict(xmin=x + 1, ymin=y + 1, xmax=x + w + 1, ymax=y + h + 1)
                box = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
                objects += (
                    f"<object><name>{CLASSES[entry['category_id'] - 1]}</name><difficult>0</difficult>"
                    f"<bndbox>{box}</bndbox></object>"
                )
        xml = f"<annotation><size><width>64</width><height>64</height></size>{objects}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(change(xml))
    names = (f"{number}\n" for number in range(len(content["images"])))
    (root / "list.txt").write_text("".join(names))


@dataclass
class Shapes:
    """The data, its config, and one trained run's folder."""

    data: Path
    config: Path
    run: Path

    @property
    def checkpoint(self) -> Path:
        return self.run / "epoch_2.pth"


def environment(**changes: str) -> dict[str, str]:
    """One thread per process, this checkout's package, and nothing of a launcher's from outside."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    paths = os.pathsep.join(filter(None, [changes.pop("PYTHONPATH", kept.get("PYTHONPATH")), str(REPO)]))
    return {**kept, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": paths, **changes}


def start_tool(tool: str, *arguments: object, cwd: Path | None = None, **changes: str) -> subprocess.CompletedProcess:
    """Runs a file of tools/ as a shell does."""
    command = [sys.executable, str(REPO / "tools" / tool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment(**changes), timeout=TIMEOUT)


def run_tool(tool: str, *arguments: object, cwd: Path | None = None, **changes: str) -> subprocess.CompletedProcess:
    """The same in a forked process, which has mmdet already, unless the changes are for the start of Python."""
    if any(name.startswith(("PYTHON", "LC_", "TORCH")) for name in changes):
        return start_tool(tool, *arguments, cwd=cwd, **changes)
    words = [str(argument) for argument in arguments]
    return fork_tool(REPO / "tools" / tool, words, cwd or Path.cwd(), environment(**changes))


def call_tool(name: str, arguments: Iterable[object]) -> None:
    """Runs a command in this process, by its own name or that of its file in tools/."""
    main([name, *map(str, arguments)])


def assert_plain(returncode: int, stderr: str, *expected: str) -> None:
    """Exit code 2, an error of at most two lines at the end, which says all that is expected, and no traceback."""
    lines = stderr.strip().splitlines()
    assert returncode == 2, stderr
    assert "Traceback" not in stderr
    starts = [index for index, line in enumerate(lines) if line.startswith("error: ")]
    assert len(starts) == 1, stderr
    message = lines[starts[0] :]
    assert len(message) <= 2, stderr
    for part in expected:
        assert part in "\n".join(message), stderr


def pretrained_config(shapes: Shapes, folder: Path, weights: object) -> Path:
    """A config whose backbone starts from a file."""
    config = folder / "pretrained.py"
    init_cfg = f'dict(_delete_=True, type="Pretrained", checkpoint="{weights}")'
    config.write_text(f'_base_ = "{shapes.config}"\nmodel = dict(backbone=dict(init_cfg={init_cfg}))\n')
    return config
