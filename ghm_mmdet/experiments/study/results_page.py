"""The pages of results, docs/results.md, docs/studies/*.md and one table of README.md, from results/*.jsonl alone."""

from __future__ import annotations

import functools
import json
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml
from mmengine.config import Config
from scipy import stats

from ghm_mmdet.errors import UserError
from ghm_mmdet.experiments.study.results import best_setting, collapsed, read_results, score
from ghm_mmdet.experiments.study.study_config import load_study_config, references
from ghm_mmdet.experiments.study.svg import FAINT, INK, TEXT, page_figure, write_svg

# Fewer give no interval.
FEWEST_SEEDS = 3
# On a light and on a dark page. GHM in the strongest, all of them apart for people who do not see red and green apart.
GHM_COLOURS = (("#d55e00", "#ff8a3d"), ("#0072b2", "#4aa8ff"), ("#b0438c", "#f08ad8"), ("#007a5c", "#2fd3a3"))
OTHER_COLOURS = (("#1c2128", "#e8ebef"), ("#8a6d00", "#d9b84a"), ("#6b7480", "#9aa3ad"), ("#7d6bb0", "#c3b0e8"))
# GHM's lines are whole; where colours come a second time, the lines differ.
GHM_LINES = ("-", (0, (6, 1.5)), (0, (3, 1, 1, 1)))
OTHER_LINES = ((0, (4, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1, 1, 1)))

# By the name of the file that holds the questions, what heads their table.
ANSWERS = {"studies/answers.yml": ("question", "answer"), "which_loss.yml": ("your data", "take")}

# By what the runs were made under, a share of damaged labels and the name of scenes, and by method.
Groups = dict[tuple[str, str], list[dict]]


def write_report(configs: Path, results: Path, docs: Path) -> list[Path]:
    """Rewrites tables and figures of docs/results.md, docs/studies/*.md and the README.md beside docs.

    Between ``<!-- study: NAME -->`` and ``<!-- end of study -->`` stands what results/NAME.jsonl holds, and between
    ``<!-- answers: FILE -->`` and ``<!-- end of answers -->`` the table of docs/FILE, one of `ANSWERS`, or, without
    FILE, of docs/studies/answers.yml.

    Args:
        configs: folder of the studies' configs.
        results: folder of their result files.
        docs: folder of results.md; figures go to its folder ``results``.

    Returns:
        The files written.

    Raises:
        UserError: results.md is missing, or a page names a study that has no config.
    """
    if not (docs / "results.md").is_file():
        raise UserError(f"not found: {(docs / 'results.md').absolute()}, the page whose tables are to be rewritten")
    written = []
    for page in (docs / "results.md", *sorted((docs / "studies").glob("*.md")), docs.parent / "README.md"):
        # Beside a folder of somebody's own may lie a README.md of another thing.
        if page.parent != docs.parent or (page.is_file() and "<!-- answers: " in page.read_text(encoding="utf-8")):
            written += _rewrite_page(page, configs, results, docs)
    return written


def _rewrite_page(page: Path, configs: Path, results: Path, docs: Path) -> list[Path]:
    written, figures = [page], docs / "results"

    def section(match: re.Match) -> str:
        study = _study(configs, match[1], page)
        rows = newest_rows(read_results(results / f"{match[1]}.jsonl"))
        if not rows:
            parts = ["No results yet."]
        elif study.get("search"):
            # Digits are alike, and a table of ten classes is no help.
            parts = search_tables(study, rows)
            parts += [] if study.get("scenes") else [search_class_table(study, rows)]
        else:
            groups = grouped(study, rows)
            figure = figures / f"{match[1]}.svg"
            draw(groups, study, figure)
            written.append(figure)
            link = "../" * (page.parent != figures.parent) + f"results/{figure.name}"
            parts = [main_table(study, groups), f"![{study.get('title', match[1])}]({link})"]
            if study.get("scenes"):
                parts.append(scenes_table(study, groups))
            else:
                parts += [class_table(groups), difference_table(study, groups)]
        return "\n\n".join((match[0].split("\n")[0], *parts, "<!-- end of study -->"))

    def answers(match: re.Match) -> str:
        file = match[1] or "studies/answers.yml"
        if file not in ANSWERS:
            raise UserError(f"{page.absolute()} names the answers {file}, which are none of {', '.join(ANSWERS)}")
        asked = yaml.safe_load((docs / file).read_text(encoding="utf-8"))
        opening = match[0].split("\n")[0]
        return f"{opening}\n\n{answers_table(asked, ANSWERS[file], configs, results, page)}\n\n<!-- end of answers -->"

    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<!-- study: (\S+) -->.*?<!-- end of study -->", section, text, flags=re.S)
    text = re.sub(r"<!-- answers(?:: (\S+))? -->.*?<!-- end of answers -->", answers, text, flags=re.S)
    page.write_text(text, encoding="utf-8")
    return written


def _study(configs: Path, name: str, page: Path) -> Config:
    config = configs / f"{name}.py"
    if not config.is_file():
        raise UserError(f"{page.absolute()} names the study {name}, which has no config {config.absolute()}")
    return load_study_config(config)


def answers_table(asked: list[dict], headings: tuple[str, str], configs: Path, results: Path, page: Path) -> str:
    """One line for each question: the answer in words, and the difference that it rests on.

    Args:
        asked: for each question ``question``, ``answer`` and ``rests_on``, a list of dicts with ``study``, ``where``
            (the condition as the study's table names it), ``method``, ``less`` (the method it is compared with), and
            ``label``, what the difference is called.
        headings: of the questions and of the answers.
        configs: folder of the studies' configs.
        results: folder of their result files.
        page: for messages.
    """
    lines = []
    for entry in asked:
        cells = []
        for claim in entry["rests_on"]:
            study = _study(configs, claim["study"], page)
            groups = grouped(study, newest_rows(read_results(results / f"{claim['study']}.jsonl")))
            rows, other = (groups.get((claim["where"], claim[name]), []) for name in ("method", "less"))
            difference = paired_difference(rows, other)
            if not difference:
                raise UserError(
                    f"{page.absolute()}: {claim['study']} has no seed that {claim['method']!r} and {claim['less']!r} "
                    f"have in common under {claim['where']!r}"
                )
            seeds = len({row["seed"] for row in rows} & {row["seed"] for row in other})
            count = "" if seeds < FEWEST_SEEDS else f", n = {seeds}"
            cells.append(f"{claim['label']}: {difference}{count}")
        lines.append([entry["question"], entry["answer"], "<br>".join(cells)])
    return table([*headings, "Δ mAP [95 % interval], seeds"], lines)


def newest_rows(rows: list[dict]) -> list[dict]:
    """Of several rows for one run, as after a change of its config, the last."""
    keys = ("method", "noise", "seed", "setting", "scenes")
    return list({json.dumps([row.get(key) for key in keys]): row for row in rows}.values())


def condition(row: dict) -> str:
    """What a run was made under: its scenes and its share of damaged labels."""
    if not row.get("scenes"):
        return f"{row['noise']:.0%}"
    return f"{row['scenes']}, {row['noise']:.0%} damaged" if row["noise"] else row["scenes"]


def grouped(study: Config, rows: list[dict]) -> Groups:
    """Rows by condition and method, in the order of the study's config, each by seed."""
    scenes = list(study.get("scenes") or [])
    rows = sorted(rows, key=lambda row: (row["noise"], scenes.index(row["scenes"]) if scenes else 0))
    groups: Groups = {}
    for where in dict.fromkeys(map(condition, rows)):
        for method in study.methods:
            found = [row for row in rows if row["method"] == method and condition(row) == where]
            if found:
                groups[where, method] = sorted(found, key=lambda row: row["seed"])
    return groups


def mean_and_deviation(values: list[float]) -> str:
    return f"{fmean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


def paired_difference(rows: list[dict], reference: list[dict], keys: tuple[str, ...] = ("mAP",)) -> str:
    """Mean difference over the seeds that both have, with Student's 95 % interval over the seeds.

    Two seeds say too little for an interval: below three the text has the mean and the number of seeds.
    """
    other = {row["seed"]: ap(row, *keys) for row in reference}
    differences = [ap(row, *keys) - other[row["seed"]] for row in rows if row["seed"] in other]
    if not differences:
        return ""
    mean, n = fmean(differences), len(differences)
    if n < FEWEST_SEEDS:
        return f"{mean:+.3f} ({'one seed' if n == 1 else f'{n} seeds'})"
    half = half_width(differences)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def half_width(values: list[float]) -> float:
    """Half of Student's 95 % interval of the mean: t(0.975, n - 1) s / sqrt(n)."""
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1)) * stdev(values) / n**0.5


def ap(row: dict, *keys: str) -> float:
    """An entry of a run's AP, 0 where it broke off."""
    return functools.reduce(operator.getitem, keys, row["ap"]) if "ap" in row else 0.0


def table(heading: list[str], lines: list[list[str]]) -> str:
    rows = [heading, ["---"] * len(heading), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main_table(study: Config, groups: Groups) -> str:
    """All methods under all conditions; a column that would be the same in every line is left out."""
    compared = [f"Δ mAP to {reference}" for reference in references(study)]
    first = "scenes" if study.get("scenes") else "damaged"
    heading = [first, "loss", "setting", "n", "mAP", "AP50", "AP75", *compared, "collapsed"]
    lines = []
    for (where, method), rows in groups.items():
        setting = rows[0]["setting"]
        lines.append(
            [
                where,
                method,
                "" if setting is None else f"lr {setting['lr']:g}, x {setting['loss_weight']:g}",
                str(len(rows)),
                *(mean_and_deviation([ap(row, name) for row in rows]) for name in ("mAP", "AP50", "AP75")),
                *(
                    "" if method == reference else paired_difference(rows, groups.get((where, reference), []))
                    for reference in references(study)
                ),
                f"{sum(map(collapsed, rows))}",
            ]
        )
    dropped = [
        heading.index(name)
        for name, empty in (("setting", ""), ("collapsed", "0"))
        if {line[heading.index(name)] for line in lines} == {empty}
    ]
    kept = [index for index in range(len(heading)) if index not in dropped]
    return table([heading[index] for index in kept], [[line[index] for index in kept] for line in lines])


def parts_of_ap(groups: Groups) -> dict[str, tuple[str, ...]]:
    """Where a row has the parts of its AP: AP50 by class, AP by size."""
    with_ap = [row["ap"] for rows in groups.values() for row in rows if "ap" in row]
    classes = list(dict.fromkeys(name for found in with_ap for name in found["class"]))
    sizes = list(dict.fromkeys(name for found in with_ap for name in found["size"]))
    parts = {f"AP50 {name}": ("class", name, "AP50") for name in classes}
    return parts | {f"AP {name}": ("size", name) for name in sizes}


def class_table(groups: Groups) -> str:
    """AP50 by class, and AP by size."""
    parts = parts_of_ap(groups)
    lines = [
        [where, method, *(mean_and_deviation([ap(row, *keys) for row in rows]) for keys in parts.values())]
        for (where, method), rows in groups.items()
    ]
    return table(["damaged", "loss", *parts], lines)


def difference_table(study: Config, groups: Groups) -> str:
    """Where a difference to the first reference comes from: which IoU, which class, which size."""
    reference = references(study)[0]
    parts = {"AP50": ("AP50",), "AP75": ("AP75",)} | parts_of_ap(groups)
    lines = [
        [
            where,
            method,
            *(paired_difference(rows, groups.get((where, reference), []), keys) for keys in parts.values()),
        ]
        for (where, method), rows in groups.items()
        if method != reference
    ]
    return table(["damaged", f"Δ to {reference}", *parts], lines)


def imbalances(groups: Groups) -> dict[str, float]:
    """Logits to one positive, as measured in the training images of each study's scenes."""
    return {where: rows[0]["imbalance"] for (where, _), rows in groups.items()}


@dataclass(frozen=True)
class Look:
    """How a method is drawn: a stand-in (`svg.PAGE_COLOURS`), its colours on a light and a dark page, its line."""

    stand_in: str
    colours: tuple[str, str]
    line: Any
    width: float

    @property
    def style(self) -> dict[str, Any]:
        return dict(color=self.stand_in, linestyle=self.line, linewidth=self.width)


def looks_of(methods: list[str]) -> dict[str, Look]:
    """How each method is drawn; no two look alike."""
    looks: dict[str, Look] = {}
    for is_ghm, palette, lines, width in (
        (True, GHM_COLOURS, GHM_LINES, 2.4),
        (False, OTHER_COLOURS, OTHER_LINES, 1.6),
    ):
        for index, method in enumerate(method for method in methods if ("GHM" in method) == is_ghm):
            line, colour = lines[index // len(palette) % len(lines)], palette[index % len(palette)]
            looks[method] = Look(f"#0004{len(looks):02x}", colour, line, width)
    return looks


def scenes_table(study: Config, groups: Groups) -> str:
    """The measured imbalance of each scenes, and the mAP of each method on them."""
    lines = []
    for where, imbalance in imbalances(groups).items():
        cells = [[ap(row, "mAP") for row in groups.get((where, method), [])] for method in study.methods]
        lines.append([where, f"{imbalance:,.0f}", *(mean_and_deviation(values) if values else "" for values in cells)])
    return table(["mAP", "logits to a positive", *study.methods], lines)


def search_tables(study: Config, rows: list[dict]) -> list[str]:
    """A table for each scenes that the search was made on, with their name where there are several."""
    found = [row.get("scenes") for row in rows]
    names = [name for name in study.get("scenes") or [None] if name in found]
    tables = [search_table(study, [row for row in rows if row.get("scenes") == name]) for name in names]
    return tables if len(tables) == 1 else [f"{name}:\n\n{text}" for name, text in zip(names, tables)]


def search_table(study: Config, rows: list[dict]) -> str:
    """The mAP of each method in each setting, the best one bold."""
    settings = list({json.dumps(row["setting"], sort_keys=True): row["setting"] for row in rows}.values())
    settings.sort(key=lambda setting: (setting["lr"], setting["loss_weight"]))
    lines = []
    for method in study.methods:
        best = best_setting(rows, method)
        cells = []
        for setting in settings:
            found = [row for row in rows if row["method"] == method and row["setting"] == setting]
            mark = "**" if found and setting == best else ""
            broken = sum(map(collapsed, found))
            note = f" ({broken} of {len(found)} collapsed)" if broken else ""
            cells.append(f"{mark}{fmean(map(score, found)):.3f}{mark}{note}" if found else "")
        lines.append([method, *cells])
    return table(["mAP", *(f"lr {s['lr']:g}, x {s['loss_weight']:g}" for s in settings)], lines)


def search_class_table(study: Config, rows: list[dict]) -> str:
    """AP50 by class of each method, in the first setting of the search and in the method's best."""
    first = {"lr": study.search["lr"][0], "loss_weight": study.search["loss_weight"][0]}
    parts = {name: keys for name, keys in parts_of_ap({("", ""): rows}).items() if keys[0] == "class"}
    lines = []
    for method in study.methods:
        cells = [
            [row for row in rows if row["method"] == method and row["setting"] == setting]
            for setting in (first, best_setting(rows, method))
        ]
        if all(cells):
            lines.append(
                [
                    method,
                    *(f"{fmean(ap(row, *keys) for row in found):.3f}" for keys in parts.values() for found in cells),
                ]
            )
    where = f"lr {first['lr']:g}, x {first['loss_weight']:g}"
    return table(["", *(f"{name} {place}" for name in parts for place in (f"at {where}", "at its best"))], lines)


def draw(groups: Groups, study: Config, path: Path) -> None:
    """Each seed's mAP by method for each condition, below it the mean AP by IoU; the names are the legend of all.

    With scenes there are mAP against the measured imbalance, and its difference to that of the references, in place of
    the AP by IoU.
    """
    conditions = list(dict.fromkeys(where for where, _ in groups))
    looks = looks_of(list(study.methods))
    methods_of = {where: [method for found, method in groups if found == where] for where in conditions}
    # Inches of each panel, by what draws it.
    plan: list[tuple[float, Callable[[Any], None]]] = []
    for where in conditions:
        methods = methods_of[where]
        plan.append(
            (0.9 + 0.48 * len(methods), functools.partial(draw_seeds, groups, study, where, methods, looks=looks))
        )
        if not study.get("scenes"):
            plan.append((2.8, functools.partial(draw_by_iou, groups, where, methods, looks=looks)))
    if study.get("scenes"):
        plan += [
            (2.8, functools.partial(draw_against_imbalance, groups, study, reference, looks=looks))
            for reference in (None, *references(study))
        ]
    figure, panels = page_figure([height for height, _ in plan])
    for axes, (_, drawing) in zip(panels, plan):
        drawing(axes)
    write_svg(figure, path, {look.stand_in: (f"m{n}", *look.colours) for n, look in enumerate(looks.values())})


def draw_seeds(
    groups: Groups, study: Config, where: str, methods: list[str], axes: Any, looks: dict[str, Look]
) -> None:
    """A row for each method: its name behind a piece of its line, and below it each seed and, as a bar, the mean."""
    across = axes.get_yaxis_transform()
    for place, method in enumerate(methods):
        values, look = [ap(row, "mAP") for row in groups[where, method]], looks[method]
        axes.plot(values, [place] * len(values), "o", color=look.stand_in, alpha=0.6, markeredgewidth=0)
        axes.plot(fmean(values), place, "|", color=look.stand_in, markersize=16, markeredgewidth=2.5)
        axes.plot([0.01, 0.08], [place - 0.5] * 2, transform=across, **look.style)
        axes.text(0.1, place - 0.5, method, transform=across, va="center", fontsize=TEXT, color=INK)
    axes.set(ylim=(len(methods) - 0.5, -0.85), yticks=[])
    axes.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.6)
    title = f"mAP, {where}" if study.get("scenes") else f"mAP, {where} of the labels damaged"
    axes.set_title(title, fontsize=TEXT, loc="left", color=FAINT)


def draw_by_iou(groups: Groups, where: str, methods: list[str], axes: Any, looks: dict[str, Look]) -> None:
    for method in methods:
        curves = [row["ap"]["iou"] for row in groups[where, method] if "ap" in row]
        if curves:
            thresholds = sorted(curves[0])
            means = [fmean(curve[threshold] for curve in curves) for threshold in thresholds]
            axes.plot([float(t) for t in thresholds], means, **looks[method].style)
    axes.set_title("AP by IoU", fontsize=TEXT, loc="left", color=FAINT)


def draw_against_imbalance(
    groups: Groups, study: Config, reference: str | None, axes: Any, looks: dict[str, Look]
) -> None:
    """Mean mAP over the seeds against the measured imbalance, less that of a reference if one is given."""
    imbalance = {where: logits for where, logits in imbalances(groups).items() if "damaged" not in where}
    for method in study.methods:
        points = []
        for where, logits in imbalance.items():
            other = {row["seed"]: score(row) for row in groups.get((where, reference), [])} if reference else {}
            values = [
                score(row) - other.get(row["seed"], 0.0)
                for row in groups.get((where, method), [])
                if reference is None or row["seed"] in other
            ]
            if values:
                points.append((logits, fmean(values)))
        if points:
            axes.plot(*zip(*sorted(points)), marker="o", markersize=4, **looks[method].style)
    axes.set(xscale="log", xlabel="logits to a positive")
    axes.set_xticks(list(imbalance.values()), [f"{logits:,.0f}" for logits in imbalance.values()])
    axes.minorticks_off()
    title = "mAP" if reference is None else f"mAP less that of {reference}"
    axes.set_title(title, fontsize=TEXT, loc="left", color=FAINT)
