"""The steps of the command predict: mmdet's DetInferencer over images of a folder."""

from __future__ import annotations

import argparse
import copy
import os
import warnings
from pathlib import Path

import cv2
import mmcv
import torch
from mmdet.apis import DetInferencer
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmdet.registry import MODELS
from mmengine import fileio
from mmengine.config import Config

from ghm_mmdet.checkpoint.safe_loading import (
    allow_mmengine_checkpoints,
    force_weights_only,
    load_weights,
    read_checkpoint,
)
from ghm_mmdet.cli.drawn_text import draw_names_as_written
from ghm_mmdet.cli.progress import track
from ghm_mmdet.config import build_part, load_config, require_parts
from ghm_mmdet.data_check.model_keys import check_model_keys
from ghm_mmdet.data_check.model_trial import made_up_sample, try_model
from ghm_mmdet.data_check.preflight import check_work_dir, enter_default_scope
from ghm_mmdet.errors import UserError, other_than_file, print_notice


def find_images(source: str) -> list[str]:
    """The image itself, or the images of a folder by name; not those of its subfolders.

    Raises:
        UserError: there is no image, or two would write the same file of predictions.
    """
    path = Path(source).expanduser()
    if "://" in source:
        if source.partition("://")[0] not in fileio.backends.prefix_to_backends:
            raise UserError(f"no way to read this kind of address: {source}\nTake http://, https:// or a path.")
        return [source]
    if path.is_dir():
        images = sorted(file for file in path.iterdir() if file.suffix.lower() in IMG_EXTENSIONS)
        if not images:
            raise UserError(f"no image ({', '.join(IMG_EXTENSIONS)}) in the folder {path.absolute()}")
    elif path.is_file() or other_than_file(path):
        images = [path]
        if path.suffix.lower() not in IMG_EXTENSIONS:
            raise UserError(f"no image, its name must end in {', '.join(IMG_EXTENSIONS)}: {path.absolute()}")
    else:
        raise UserError(f"image not found: {path.absolute()}")
    stems: dict[str, Path] = {}
    for image in images:
        if stems.setdefault(image.stem, image) is not image:
            names = f"{stems[image.stem].name} and {image.name}"
            raise UserError(f"{names} would both write {image.stem}.json: {path.absolute()}\nRename one of them.")
    return [str(image) for image in images]


def prepare(args: argparse.Namespace) -> Config:
    """Reads the config and checks device and checkpoint; then creates the folder of the results."""
    force_weights_only()
    allow_mmengine_checkpoints()
    cfg = load_config(args.config, args.cfg_options, work_dir=None, launcher="none")
    require_parts(cfg, "model", "test_dataloader", "visualizer")
    if args.device is not None:
        try:
            torch.empty(1, device=args.device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"--device {args.device}: {str(error).splitlines()[0]}") from error
    enter_default_scope(cfg)
    model = build_part(MODELS, copy.deepcopy(cfg.model), "model")
    check_model_keys(cfg.model, model)
    load_weights(model, read_checkpoint(args.checkpoint), args.checkpoint)
    try_model(model, {"test": made_up_sample()}, has_weights=True)
    check_work_dir(args.out, "--out")
    return cfg


def run(cfg: Config, images: list[str], args: argparse.Namespace) -> None:
    """Predicts batch by batch, since DetInferencer keeps every picture of a call in memory.

    Raises:
        UserError: images that cannot be read, after all others are done.
    """
    with warnings.catch_warnings():
        # The visualizer has no folder for logs, and needs none.
        warnings.filterwarnings("ignore", message="Failed to add .*VisBackend")
        inferencer = DetInferencer(cfg, args.checkpoint, device=args.device, show_progress=False)
        draw_names_as_written((inferencer.visualizer.dataset_meta or {}).get("classes", ()))
    failed: dict[str, Exception | None] = {}
    detections = 0

    def predict(batch: list[str]) -> list[dict]:
        """The predictions of those images that can be predicted; the others are put into `failed`."""
        try:
            return inferencer(
                batch,
                batch_size=args.batch_size,
                pred_score_thr=args.pred_score_thr,
                no_save_vis=args.no_save_vis,
                no_save_pred=args.no_save_pred,
                out_dir=args.out,
            )["predictions"]
        except UserError:
            raise
        except Exception as error:
            # An image that the pipeline or the memory has no place for must not cost the others theirs.
            if len(batch) > 1:
                return [found for image in batch for found in predict([image])]
            failed[batch[0]] = error
            return []

    for start in track(range(0, len(images), args.batch_size), "images"):
        batch = images[start : start + args.batch_size]
        failed |= dict.fromkeys(image for image in batch if not _is_readable(image))
        batch = [image for image in batch if image not in failed]
        for found in predict(batch) if batch else ():
            detections += sum(score >= args.pred_score_thr for score in found["scores"])
    done = len(images) - len(failed)
    if done:
        print(f"{done} images, {detections} detections with a score of at least {args.pred_score_thr}")
        for folder, left_out in (("vis", args.no_save_vis), ("preds", args.no_save_pred)):
            if not left_out:
                print(f"written: {os.path.join(args.out, folder)}")
    if not failed:
        return
    unexpected = [error for error in failed.values() if error is not None and not isinstance(error, cv2.error)]
    if not done and unexpected:
        # What no image survives is no image's fault.
        raise unexpected[0]
    first, *others = (_told(image, error) for image, error in failed.items())
    for line in others:
        print_notice(line)
    rest = f"\n{len(failed)} of {len(images)} images are like this; the others are done." if done else ""
    raise UserError(f"{first}{rest}")


def _told(image: str, error: Exception | None) -> str:
    where = image if "://" in image else os.path.abspath(image)
    if other := other_than_file(image):
        return f"cannot read the image {where}, it is {other}, not a file"
    if error is None:
        return f"cannot decode the image {where}" if os.path.exists(image) else f"cannot read the image {where}"
    height, width = mmcv.imfrombytes(fileio.get(image)).shape[:2]
    return f"cannot predict on the image {where}, {width} x {height}: {' '.join(str(error).split())[:200]}"


def _is_readable(image: str) -> bool:
    try:
        return not other_than_file(image) and mmcv.imfrombytes(fileio.get(image)) is not None
    except (OSError, cv2.error):
        return False
