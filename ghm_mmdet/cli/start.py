"""From a folder of labelled images to a config of its own, and with --train to a trained detector.

DATA is a folder with images and labels in PASCAL VOC's format (with ImageSets or without, or LabelImg's flat folder),
in COCO's (any file names; exports of CVAT, Roboflow, Label Studio) or in YOLO's (data.yaml and labels/). Nothing in it
is changed. What is made lies in the work dir: the labels as COCO files, the split, the report of the data check, a
short config, and after --train the checkpoint, a picture of detections and a report page. Called again, it goes on from
there.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import time
from pathlib import Path
from typing import Any

from ghm_mmdet.cli.arguments import positive_int
from ghm_mmdet.custom_dataset.loss_choice import LOSSES
from ghm_mmdet.errors import UserError

RECORD = "start.json"
# Positives are counted in this many images; more would not change the choice of a loss.
COUNTED_IMAGES = 50
SCENES = 6
SCORE_THRESHOLD = 0.3
CHOICES = ("loss", "size", "weights", "seed", "epochs")
METRICS = {"mAP": "bbox_mAP", "AP50": "bbox_mAP_50", "AP75": "bbox_mAP_75"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="folder of images and labels")
    parser.add_argument(
        "--train", action="store_true", help="train at once, then test, draw detections and write a report"
    )
    parser.add_argument(
        "--loss", choices=list(LOSSES), help="default: what did best on data like this, see docs/results.md"
    )
    parser.add_argument(
        "--size",
        choices=["cpu", "gpu"],
        help="cpu: EfficientNet-Lite0 and 320 pixels, gpu: R-50 and 800 pixels (default: whether there is a GPU)",
    )
    parser.add_argument("--weights", metavar="CHECKPOINT", help="fine-tune from this file or address")
    parser.add_argument("--epochs", type=positive_int, metavar="N", help="default: by the number of images")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="of a split that is drawn (default: 0)")
    parser.add_argument("--work-dir", metavar="FOLDER", help="default: work_dirs/<name of DATA>")
    parser.add_argument("--fresh", action="store_true", help="start anew; what is in the work dir is moved beside it")


def run(args: argparse.Namespace) -> None:
    if args.weights and "://" not in args.weights:
        args.weights = str(Path(args.weights).expanduser().absolute())
    data = Path(args.data).expanduser().resolve()
    work_dir = Path(args.work_dir or Path("work_dirs") / data.name).expanduser().resolve()
    if work_dir == data or data in work_dir.parents:
        raise UserError(f"the work dir {work_dir} lies inside the data.\nName another: --work-dir")

    from ghm_mmdet.custom_dataset.labelled_images import coco_content
    from ghm_mmdet.custom_dataset.recognise import read_labelled_folder
    from ghm_mmdet.custom_dataset.splits import complete_splits, images_of

    folder = read_labelled_folder(data)
    record = _read_record(work_dir)
    seed = args.seed if args.seed is not None else (record or {}).get("seed", 0)
    told = complete_splits(folder, seed)
    contents = {
        split: coco_content(images_of(folder, split), folder.classes, data) for split in ("train", "val", "test")
    }
    _say(1, f"{data}: {folder.format_name}, {len(folder.images):,} images, {len(folder.classes)} classes")
    counts = folder.object_counts()
    _note("objects: " + _few([f"{name} {counts[name]:,}" for name in folder.classes]))
    sizes = [f"{split} {len(content['images']):,}" for split, content in contents.items()]
    _note(f"split: {', '.join(sizes)} ({told})")
    for note in folder.notes:
        _note(note)
    without = [name for name in counts if not folder.object_counts("train")[name]]
    if without:
        _note(f"no object in the training images of: {_few(without)}")

    if record is None or args.fresh:
        _check_stack_and_weights(args.weights)
    if record is not None and args.fresh:
        _note(f"what was in {work_dir} is now in {_move_aside(work_dir)}")
        record = None
    if record is None:
        record = _prepare(args, work_dir, folder, contents, seed)
    else:
        _require_same(args, record, contents, data, work_dir)
        _say(2, f"prepared before: {record['config']}")
    if args.train:
        _train(record, work_dir)
    else:
        _say(5, "to train, test, draw detections and write a report:")
        words = ["ghm-mmdet", "start", args.data, *(["--work-dir", args.work_dir] if args.work_dir else []), "--train"]
        _note(shlex.join(words))
        _note(f"or as any config: ghm-mmdet train {shlex.quote(record['config'])}")


def _check_stack_and_weights(weights: str | None) -> None:
    """Refuses weights before anything is written; training reads them again for itself."""
    from ghm_mmdet.cli.environment import check_stack

    check_stack()

    from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints, read_checkpoint

    if weights:
        allow_mmengine_checkpoints()
        read_checkpoint(weights)


def _prepare(
    args: argparse.Namespace, work_dir: Path, folder: Any, contents: dict[str, Any], seed: int
) -> dict[str, Any]:
    """Writes labels, split, data check and config, and the record of it last."""
    if work_dir.is_dir() and any(work_dir.iterdir()) and not (work_dir / "annotations").is_dir():
        raise UserError(f"the work dir holds something else already: {work_dir}\nName another: --work-dir")

    import torch

    from ghm_mmdet.cli.paths import ROOT
    from ghm_mmdet.custom_dataset.detector_config import SIZES, anchors_for, config_text
    from ghm_mmdet.custom_dataset.loss_choice import recommend
    from ghm_mmdet.data_check.preflight import check_work_dir

    size_name = args.size or ("gpu" if torch.cuda.is_available() else "cpu")
    size = SIZES[size_name]
    annotations = work_dir / "annotations"
    check_work_dir(str(annotations))
    for split, content in contents.items():
        (annotations / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
    rows = [f"{split},{entry['file_name']}" for split, of in contents.items() for entry in of["images"]]
    (work_dir / "split.csv").write_text("\n".join(["split,image", *rows, ""]), encoding="utf-8")

    anchors = anchors_for(folder, size)
    # mmdet trains on those that have objects.
    train_images = len({entry["image_id"] for entry in contents["train"]["annotations"]})
    epochs = args.epochs or size.epochs_for(train_images)
    config = work_dir / f"{work_dir.name}.py"

    def write(loss_name: str, why: str, logits: float) -> None:
        loss = LOSSES[loss_name]
        words = f"ghm-mmdet train {shlex.quote(str(config))}" + (" --allow-partial-load" if args.weights else "")
        title = f"{size.title}, on {folder.root.name} ({folder.format_name}).\n\n{why}"
        text = config_text(
            title=title,
            command=words,
            base=ROOT / "configs" / size.base,
            data_root=folder.root,
            annotations=annotations,
            work_dir=work_dir / "training",
            classes=folder.classes,
            train_images=train_images,
            epochs=epochs,
            size=size,
            anchors=anchors,
            loss=loss,
            lr=loss.lr_at(logits) if size.lr is None else size.lr,
            weights=args.weights,
        )
        config.write_text(text, encoding="utf-8")

    # Neither the loss nor its learning rate has a part in how positives are counted.
    write("ce", "", logits=0)
    _say(2, "checking the data")
    cfg = _check_data(config, work_dir)
    _say(3, "counting positives")
    logits = _logits_per_positive(cfg)
    advice = recommend(logits)
    loss_name = args.loss or advice.loss
    why = "chosen by hand" if args.loss else f"{advice.reason} (docs/results.md)"
    why = f"Positives: one of {logits:,.0f} logits. Loss: {LOSSES[loss_name].title}, {why}."
    _note(why)
    write(loss_name, why, logits)
    _say(4, f"config: {config}")
    _note(f"{size.title}, {epochs} epochs, anchors of {anchors.octave_base_scale:g} strides, ratios {anchors.ratios}")
    record = {
        "data": str(folder.root),
        "config": str(config),
        "loss": loss_name,
        "size": size_name,
        "weights": args.weights,
        "seed": seed,
        "epochs": epochs,
        "iterations": epochs * math.ceil(train_images / size.batch),
    }
    (work_dir / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def _check_data(config: Path, work_dir: Path) -> Any:
    """Reads all images and labels; returns the loaded config.

    Raises:
        UserError: training would break.
    """
    from ghm_mmdet.cli.progress import track
    from ghm_mmdet.config import load_config
    from ghm_mmdet.data_check.dataset_report import report_dataset
    from ghm_mmdet.data_check.preflight import enter_default_scope

    cfg = load_config(str(config), [], work_dir=None, launcher="none")
    enter_default_scope(cfg)
    report = report_dataset(cfg, track)
    written = work_dir / "data_check.txt"
    written.write_text(f"{report}\n", encoding="utf-8")
    findings = [report.walk.findings, *(part.findings for part in report.walk.parts)]
    if report.breaks:
        kind, finding = next(iter(next(found.breaking for found in findings if found.breaking).items()))
        raise UserError(f"{kind.text}: {finding.count:,}, such as {finding.places[0]}\nAll that was found: {written}")
    suspicious: dict[Any, list[Any]] = {}
    for found in findings:
        for kind, finding in found.suspicious.items():
            suspicious.setdefault(kind, []).append(finding)
    for kind, of_parts in suspicious.items():
        count = sum(finding.count for finding in of_parts)
        _note(f"suspicious: {kind.text}: {count:,}, such as {of_parts[0].places[0]}")
    _note(f"nothing that breaks a training; all of it in {written}")
    return cfg


def _logits_per_positive(cfg: Any) -> float:
    import copy

    from mmdet.registry import DATASETS, MODELS

    from ghm_mmdet.cli.progress import track
    from ghm_mmdet.coco import quiet
    from ghm_mmdet.prior import find_dense_heads, measure_priors

    model = MODELS.build(copy.deepcopy(cfg.model))
    with quiet():
        data_set = DATASETS.build(cfg.train_dataloader.dataset)
    (prior,) = measure_priors(
        model,
        find_dense_heads(model),
        data_set,
        max_images=COUNTED_IMAGES,
        progress=lambda images: track(images, "counting"),
    )
    return 1 / prior.probability


def _read_record(work_dir: Path) -> dict[str, Any] | None:
    try:
        return json.loads((work_dir / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{work_dir / RECORD} is not whole.\nStart anew: --fresh") from error


def _require_same(
    args: argparse.Namespace, record: dict[str, Any], contents: dict[str, Any], data: Path, work_dir: Path
) -> None:
    """Raises UserError when data or options are not those that the work dir was made with."""
    asked = {name: getattr(args, name) for name in CHOICES if getattr(args, name) is not None}
    differing = [f"--{name} was {record[name]}" for name, value in asked.items() if value != record[name]]
    if record["data"] != str(data):
        raise UserError(f"{work_dir} was made for {record['data']}.\nName another folder: --work-dir")
    for split, content in contents.items():
        file = work_dir / "annotations" / f"{split}.json"
        if not file.is_file() or json.loads(file.read_text(encoding="utf-8")) != content:
            differing.append("the labels have changed since then")
            break
    if differing:
        raise UserError(
            f"{work_dir} was made before, and {', '.join(differing)}.\n"
            "Start anew with --fresh, or beside it with --work-dir."
        )


def _train(record: dict[str, Any], work_dir: Path) -> None:
    from rich.table import Table

    from ghm_mmdet.cli.detections_picture import draw_coco_detections
    from ghm_mmdet.cli.environment import check_stack
    from ghm_mmdet.cli.subcommand import console, run_subcommand

    check_stack()
    config, training = record["config"], work_dir / "training"
    checkpoint = training / f"epoch_{record['epochs']}.pth"
    metrics_file, detections = work_dir / "metrics.json", work_dir / "detections.pkl"
    times = {}
    start = time.monotonic()
    if checkpoint.is_file():
        _say(5, f"trained before: {checkpoint}")
    else:
        resuming = any(training.glob("epoch_*.pth"))
        _say(5, f"{'going on with the training' if resuming else 'training'}, {record['epochs']} epochs: {training}")
        options = ["--resume"] if resuming else ["--allow-partial-load"] if record["weights"] else []
        run_subcommand(
            "train",
            [config, *options],
            work_dir / "train.log",
            work_dir=training,
            epochs=record["epochs"],
            iterations=record["iterations"],
        )
        metrics_file.unlink(missing_ok=True)
        times["training"] = time.monotonic() - start
    start = time.monotonic()
    if not metrics_file.is_file() or not detections.is_file():
        _say(6, "testing")
        before = set(training.glob("*/*.json"))
        run_subcommand("test", [config, checkpoint, "--out", detections], work_dir / "test.log")
        (written,) = set(training.glob("*/*.json")) - before
        # mmdet's evaluator says nothing where nothing was detected, which is an mAP of 0.
        found = dict.fromkeys((f"coco/{key}" for key in METRICS.values()), 0.0)
        found |= json.loads(written.read_text(encoding="utf-8"))
        metrics_file.write_text(json.dumps(found), encoding="utf-8")
        times["test"] = time.monotonic() - start
    picture, report = work_dir / "detections.png", work_dir / "report.html"
    _say(7, "drawing detections and writing the report")
    draw_coco_detections(
        work_dir / "annotations" / "test.json",
        Path(record["data"]),
        detections,
        picture,
        scenes=SCENES,
        threshold=SCORE_THRESHOLD,
    )
    run_subcommand("report", [training, "--out", report], work_dir / "report.log")

    metrics = {name.partition("/")[2]: value for name, value in json.loads(metrics_file.read_text()).items()}
    if not metrics["bbox_mAP"]:
        _note(f"the detector finds next to nothing yet; see {work_dir / 'train.log'}")
    classes = [name for name in metrics if name.endswith("_precision")]
    _note(f"on the test images, with {LOSSES[record['loss']].title}:")
    table = Table()
    columns = {**{title: metrics[key] for title, key in METRICS.items()}}
    # A table of eighty classes fits no screen; the report has them all.
    for name in classes if len(classes) <= 6 else ():
        columns[f"AP {name.removesuffix('_precision')}"] = metrics[name]
    for title in columns:
        table.add_column(title, justify="right")
    table.add_row(*(f"{value:.3f}" for value in columns.values()))
    console.print(table)
    if times:
        _note(", ".join(f"{name} {seconds / 60:.1f} min" for name, seconds in times.items()))
    for title, path in (("checkpoint", checkpoint), ("picture", picture), ("report", report)):
        _note(f"{title}: {path}")


def _say(step: int, text: str) -> None:
    from ghm_mmdet.cli.subcommand import console

    console.print(f"[{step}] {text}", soft_wrap=True)


def _note(text: str) -> None:
    from ghm_mmdet.cli.subcommand import console

    console.print(f"    {text}", soft_wrap=True)


def _few(parts: list[str]) -> str:
    return ", ".join(parts[:10]) + (f" and {len(parts) - 10} more" if len(parts) > 10 else "")


def _move_aside(folder: Path) -> Path:
    number = next(number for number in range(1, 10_000) if not folder.with_name(f"{folder.name}.{number}").exists())
    return folder.rename(folder.with_name(f"{folder.name}.{number}"))
