"""The page: what is compared with what, which images are shown, and the template that lays it out."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ghm_mmdet import __version__
from ghm_mmdet.gradient_norms.log import Record
from ghm_mmdet.report.charts import chart, finite, svg_dashes
from ghm_mmdet.report.evaluation import MATCHING_IOU, Detection, Evaluation
from ghm_mmdet.report.ground_truth import GroundTruth
from ghm_mmdet.report.history import History
from ghm_mmdet.report.labels import Label, place_labels
from ghm_mmdet.report.pictures import Picture, around, read_image, whole
from ghm_mmdet.report.work_dir import WorkDir

PICTURES = 12
MISTAKES = 12
# A logarithmic axis has a number at every power of ten; a narrower range might show none.
LOG_FROM = 30
LETTERS_ACROSS = 30
# Classes whose curves are shown without a click.
CLASSES_SHOWN = 12
COLUMNS = {
    "mAP": "AP",
    "mAP_50": "AP50",
    "mAP_75": "AP75",
    "mAP_s": "AP small",
    "mAP_m": "AP medium",
    "mAP_l": "AP large",
    "AR@100": "AR",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}
NORMS = {
    "classification": "gradient norm |p - t|",
    "regression": "gradient norm |d| / sqrt(d² + mu²)",
}


@dataclass
class Run:
    """All that the page shows of a run; number and name tell it from the others."""

    number: int
    name: str
    work_dir: WorkDir
    truth: GroundTruth
    evaluation: Evaluation
    history: History
    gradient_norms: Record | None

    @property
    def dashes(self) -> str:
        return svg_dashes(self.number)


def short_names(paths: Sequence[Any]) -> list[str]:
    """The last parts of the paths, as many as it takes to tell them apart."""
    parts = [path.absolute().parts for path in paths]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]


def render(runs: list[Run], phase: str, command: str) -> str:
    """Returns the page as HTML text; runs with other test data stand in a section of their own."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.truth.fingerprint, []).append(run)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ghm_mmdet.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["figure"] = lambda value: "-" if value is None or math.isnan(value) else f"{value:.3f}"
    return environment.get_template("page.html.j2").render(
        runs=runs,
        groups=[_group(members, number) for number, members in enumerate(groups.values(), start=1)],
        phase=phase,
        columns=COLUMNS,
        matching_iou=MATCHING_IOU,
        command=command,
        version=__version__,
        date=datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
        chosen=[PICTURES, MISTAKES],
    )


def _group(runs: list[Run], number: int) -> dict[str, Any]:
    truth = runs[0].truth
    images: dict[int, np.ndarray] = {}

    def image(index: int) -> np.ndarray:
        if index not in images:
            images[index] = read_image(truth.paths[index])
        return images[index]

    return {
        "number": number,
        "runs": runs,
        "truth": truth,
        "objects": sum(not entry["iscrowd"] for entry in truth.annotations),
        "best": _best(runs),
        "classes": _class_rows(runs),
        "curves": _precision_recall(runs),
        "metrics": _metric_charts(runs),
        "losses": _loss_charts(runs),
        "gradient_norms": _gradient_norm_charts(runs),
        "pictures": [_picture(runs, index, image(index), number) for index in _worst_images(runs)],
        "mistakes": [{"run": run, **_mistakes(run, image)} for run in runs],
    }


def _best(runs: list[Run]) -> dict[str, str]:
    """The highest value of each column, as printed, where the runs differ."""
    best = {}
    for column in COLUMNS:
        values = [f"{run.evaluation.statistics[column] or 0:.3f}" for run in runs]
        if len(set(values)) > 1:
            best[column] = max(values)
    return best


def _class_rows(runs: list[Run]) -> list[dict[str, Any]]:
    counts = [0] * len(runs[0].truth.classes)
    for entry in runs[0].truth.annotations:
        counts[entry["category_id"]] += not entry["iscrowd"]
    return [
        {"name": name, "objects": counts[label], "ap": [run.evaluation.class_ap[label] for run in runs]}
        for label, name in enumerate(runs[0].truth.classes)
    ]


def _precision_recall(runs: list[Run]) -> dict[str, Any]:
    """A chart of the mean over the classes, and one of each class, those first in which the runs differ most."""
    recall = np.linspace(0, 1, 101)
    curves = np.stack([run.evaluation.precision for run in runs])
    labels = [label for label in range(curves.shape[2]) if not np.isnan(curves[0, :, label]).any()]
    if not labels:
        return {"mean": None, "shown": [], "more": []}

    def draw(title: str, lines: np.ndarray, size: tuple[float, float]) -> Markup:
        numbered = [(run.number, recall, line) for run, line in zip(runs, lines)]
        return chart(title, numbered, xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), size=size)

    if len(runs) > 1:
        spread = np.ptp(curves.mean(axis=1), axis=0)
        labels.sort(key=lambda label: -spread[label])
    charts = [draw(runs[0].truth.classes[label], curves[:, :, label], (2.9, 2.2)) for label in labels]
    mean = draw("mean over the classes", curves[:, :, labels].mean(axis=2), (3.6, 2.5))
    return {"mean": mean, "shown": charts[:CLASSES_SHOWN], "more": charts[CLASSES_SHOWN:]}


def _metric_charts(runs: list[Run]) -> list[Markup]:
    names = ("coco/bbox_mAP", "coco/bbox_mAP_50", "pascal_voc/mAP")
    return [
        _history_chart([(run.number, run.history.metrics.get(name, [])) for run in runs], name, "epoch")
        for name in names
        if any(run.history.metrics.get(name) for run in runs)
    ]


def _loss_charts(runs: list[Run]) -> list[Markup]:
    names = dict.fromkeys(name for run in runs for name, points in run.history.losses.items() if points)
    return [
        _history_chart([(run.number, run.history.losses.get(name, [])) for run in runs], name, "iteration")
        for name in names
    ]


def _history_chart(series: list[tuple[int, list]], title: str, xlabel: str) -> Markup:
    lines = [(run, *finite(points)) for run, points in series]
    values = [value for _, _, y in lines for value in y]
    log = xlabel == "iteration" and bool(values) and max(values) > LOG_FROM * min(values) > 0
    return chart(title, lines, xlabel=xlabel, ylabel="", log=log, marked=xlabel == "epoch")


def _gradient_norm_charts(runs: list[Run]) -> list[dict[str, Any]]:
    """For each loss that a run recorded: samples and gradient by gradient norm, in the last recorded iteration."""
    recorded = [(run, run.gradient_norms) for run in runs if run.gradient_norms is not None]
    names = dict.fromkeys(name for _, record in recorded for name in record.losses)
    charts = []
    for name in names:
        of = [(run, record.losses[name]) for run, record in recorded if name in record.losses]

        def draw(title: str, values: Iterable[Sequence[float]], of: list = of) -> Markup:
            lines = []
            for (run, _), heights in zip(of, values):
                middles = (np.arange(len(heights)) + 0.5) / len(heights)
                # An empty region has no place on a log axis.
                lines.append((run.number, middles, [height or math.nan for height in heights]))
            norm = NORMS.get(of[0][1].kind, "gradient norm")
            return chart(title, lines, xlabel=norm, ylabel="share", xlim=(0, 1), log=True, steps=True)

        samples = draw("samples", [[count / sum(loss.count) for count in loss.count] for _, loss in of])
        gradient = draw("gradient", [loss.share for _, loss in of])
        told = [
            f"{run.name}: {record.losses[name].type}, iteration {record.iteration:,}"
            for run, record in recorded
            if name in record.losses
        ]
        charts.append({"name": name, "told": told, "charts": [samples, gradient]})
    return charts


def _worst_images(runs: list[Run]) -> list[int]:
    """The images that cost the runs most on average; those with nothing to see, neither object nor detection, last."""
    costs = [sum(run.evaluation.images[index].cost for run in runs) for index in range(len(runs[0].truth.paths))]
    return sorted(range(len(costs)), key=lambda index: -costs[index])[:PICTURES]


def _picture(runs: list[Run], index: int, image: np.ndarray, group: int) -> dict[str, Any]:
    truth = runs[0].truth
    picture = whole(image)
    objects = [entry for entry in truth.annotations if entry["image_id"] == index]
    results = [run.evaluation.images[index] for run in runs]
    # On a telephone the picture is some 340 pixels wide, and letters below 11 cannot be read.
    font = picture.view[2] / LETTERS_ACROSS

    def name(entry: dict) -> str:
        return truth.classes[entry["category_id"]]

    def labels(result: Any) -> list[Label]:
        found = sorted(result.detections, key=lambda detection: -detection.score)
        texts = [
            (each.box, f"{'✗ ' if each.mistake else ''}{truth.classes[each.label]} {each.score:.2f}") for each in found
        ]
        missed = [(entry["bbox"], f"{name(entry)}?") for entry in result.missed]
        return place_labels([*texts, *missed], picture.view, font)

    return {
        "id": f"image-{group}-{index}",
        "name": _file_name(truth.paths[index]),
        "picture": picture,
        "font": font,
        "objects": objects,
        "labels": place_labels([(entry["bbox"], name(entry)) for entry in objects], picture.view, font),
        "columns": [(run, result, labels(result)) for run, result in zip(runs, results)],
    }


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _mistakes(run: Run, image: Any) -> dict[str, Any]:
    """The false detections of highest score, and the largest missed objects, each with the part of its image."""
    false: list[tuple[int, Detection]] = []
    missed: list[tuple[int, dict]] = []
    for index, result in enumerate(run.evaluation.images):
        false += [(index, detection) for detection in result.detections if detection.mistake]
        missed += [(index, entry) for entry in result.missed]
    false.sort(key=lambda pair: -pair[1].score)
    missed.sort(key=lambda pair: -pair[1]["area"])
    kinds = Counter(str(detection.mistake) for _, detection in false)

    def shown(index: int, box: list[float]) -> dict[str, Any]:
        picture: Picture = around(image(index), box)
        return {"picture": picture, "box": box, "name": _file_name(run.truth.paths[index])}

    return {
        "false": [{**shown(index, found.box), "detection": found} for index, found in false[:MISTAKES]],
        "missed": [{**shown(index, entry["bbox"]), "entry": entry} for index, entry in missed[:MISTAKES]],
        "false_count": len(false),
        "missed_count": len(missed),
        "kinds": kinds.most_common(),
    }
