"""The report: numbers against plain arithmetic, and the same bytes from the same results."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
import scipy.stats

from ghm_mmdet.errors import UserError
from ghm_mmdet.experiments.study.results import append_result
from ghm_mmdet.experiments.study.results_page import half_width, looks_of, paired_difference, write_report

REPO = Path(__file__).resolve().parents[3]
STUDY = """
title = "A trial"
methods = dict(CE="a.py", Focal="b.py")
reference = "Focal"
"""
PAGE = "# Results\n\nWords.\n\n<!-- study: trial -->\nold\n<!-- end of study -->\n\nMore words.\n"


def row(method: str, seed: int, value: float, noise: float = 0.0, setting: dict | None = None) -> dict:
    parts = {"iou": {"0.50": value, "0.75": value / 2}, "size": {"small": value / 4}}
    per_class = {"disc": {"AP": value, "AP50": value + 0.1, "AP75": value / 2}}
    ap = {"mAP": value, "AP50": value + 0.1, "AP75": value / 2, **parts, "class": per_class}
    return {"method": method, "config_hash": "", "seed": seed, "noise": noise, "setting": setting, "ap": ap}


def folders(tmp_path: Path, rows: list[dict], study: str = STUDY) -> tuple[Path, Path, Path]:
    configs, results, docs = (tmp_path / name for name in ("configs", "results", "docs"))
    for folder in (configs, results, docs):
        folder.mkdir()
    (configs / "trial.py").write_text(study)
    (docs / "results.md").write_text(PAGE)
    for each in rows:
        append_result(results / "trial.jsonl", each)
    return configs, results, docs


def test_table_holds_mean_deviation_and_paired_difference(tmp_path):
    ce, focal = [0.30, 0.34, 0.38], [0.40, 0.43, 0.49]
    rows = [row("CE", seed, value) for seed, value in enumerate(ce)]
    rows += [row("Focal", seed, value) for seed, value in enumerate(focal)]
    # A later row for the same run takes the place of the earlier one.
    where = folders(tmp_path, [row("CE", 0, 0.9), *rows])
    written = write_report(*where)
    text = (where[2] / "results.md").read_text()
    assert text.startswith("# Results\n\nWords.\n\n<!-- study: trial -->\n") and text.endswith("\n\nMore words.\n")
    assert "old" not in text
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "| CE |" in line]
    assert cells[0][:3] == ["0%", "CE", "3"]
    assert cells[0][3] == f"{fmean(ce):.3f} ± {stdev(ce):.3f}"
    assert cells[0][4] == f"{fmean(ce) + 0.1:.3f} ± {stdev(ce):.3f}"
    difference = re.fullmatch(r"(\S+) \[(\S+), (\S+)\]", cells[0][6])
    mean, low, high = map(float, difference.groups())
    assert mean == pytest.approx(fmean(np.subtract(ce, focal)), abs=5e-4)
    # Student's quantile for three seeds is 4.303.
    half = 4.303 * stdev(np.subtract(ce, focal)) / 3**0.5
    assert [low, high] == pytest.approx([mean - half, mean + half], abs=1e-3)
    assert "<svg" in (where[2] / "results" / "trial.svg").read_text()
    assert written == [where[2] / "results.md", where[2] / "results" / "trial.svg"]


def test_differences_to_several_methods_and_where_they_come_from(tmp_path):
    rows = [row(method, 0, value) for method, value in (("CE", 0.3), ("Focal", 0.4), ("GHM-C", 0.6))]
    study = STUDY.replace('"b.py"', '"b.py", **{"GHM-C": "c.py"}').replace('"Focal"\n', '["Focal", "CE"]\n')
    where = folders(tmp_path, rows, study)
    write_report(*where)
    text = (where[2] / "results.md").read_text()
    assert "| Δ mAP to Focal | Δ mAP to CE |\n" in text and "collapsed" not in text
    main, _, parts = (line for line in text.splitlines() if "| GHM-C |" in line)
    assert main.endswith("| +0.200 (one seed) | +0.300 (one seed) |")
    assert "| damaged | Δ to Focal | AP50 | AP75 | AP50 disc | AP small |" in text
    differences = ["+0.200", "+0.100", "+0.200", "+0.050"]
    assert parts == "| 0% | GHM-C | " + " | ".join(f"{value} (one seed)" for value in differences) + " |"
    (focal,) = (line for line in text.splitlines() if "| Focal |" in line and "+" in line)
    assert focal.endswith("|  | +0.100 (one seed) |")


def test_scenes_in_the_order_of_the_study_with_their_imbalance(tmp_path):
    values = {("sparse", "CE"): 0.1, ("sparse", "Focal"): 0.2, ("dense", "CE"): 0.6, ("dense", "Focal"): 0.5}
    rows = [
        {**row(method, seed, value + seed / 10), "scenes": scenes, "imbalance": dict(sparse=2000.4, dense=12.1)[scenes]}
        for (scenes, method), value in values.items()
        for seed in (0, 1)
    ]
    options = "dict(image_size=[64, 64], num_classes=3)"
    where = folders(tmp_path, rows, STUDY + f"scenes = dict(dense={options}, sparse={options})\n")
    write_report(*where)
    text = (where[2] / "results.md").read_text()
    assert "| mAP | logits to a positive | CE | Focal |\n| --- | --- | --- | --- |\n" in text
    assert "| dense | 12 | 0.650 ± 0.071 | 0.550 ± 0.071 |\n| sparse | 2,000 | 0.150 ± 0.071 | 0.250 ± 0.071 |" in text
    assert "| scenes | loss | n |" in text and "damaged" not in text
    dense, sparse = (line for line in text.splitlines() if re.match(r"\| \w+ \| CE \|", line))
    assert dense.startswith("| dense | CE | 2 | 0.650 ± 0.071 | 0.750 ± 0.071 |")
    assert dense.endswith("| +0.100 (2 seeds) |") and sparse.endswith("| -0.100 (2 seeds) |")
    assert (where[2] / "results" / "trial.svg").stat().st_size > 10_000


def test_interval_is_students_over_the_seeds():
    random = np.random.default_rng(1)
    a, b = random.normal(0.5, 0.05, 6), random.normal(0.45, 0.05, 6)
    text = paired_difference([row("a", i, x) for i, x in enumerate(a)], [row("b", i, x) for i, x in enumerate(b)])
    mean, low, high = map(float, re.findall(r"[+-]\d\.\d+", text))
    found = scipy.stats.ttest_rel(a, b).confidence_interval(0.95)
    assert mean == pytest.approx((a - b).mean(), abs=6e-4)
    assert [low, high] == pytest.approx([found.low, found.high], abs=6e-4)


def test_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(2)
    draws = random.normal(0.1, 1.0, (2000, 4))
    covered = [abs(fmean(draw) - 0.1) <= half_width(list(draw)) for draw in draws]
    assert fmean(covered) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("seeds", "text"), [(1, "+0.100 (one seed)"), (2, "+0.100 (2 seeds)")])
def test_below_three_seeds_there_is_no_interval(seeds, text):
    rows = [row("a", seed, 0.5) for seed in range(seeds)], [row("b", seed, 0.4) for seed in range(seeds)]
    assert paired_difference(*rows) == text


def test_only_common_seeds_are_paired():
    first = [row("a", seed, 0.5) for seed in (1, 2, 3)]
    assert paired_difference(first, [row("b", 2, 0.4)]) == "+0.100 (one seed)"
    assert paired_difference(first, [row("b", 7, 0.4)]) == ""
    assert paired_difference(first, [row("b", seed, 0.5) for seed in (1, 2)]) == "+0.000 (2 seeds)"


def test_run_that_broke_off_counts_as_0(tmp_path):
    broken = {**row("CE", 1, 0.0), "error": "loss_cls is nan"}
    del broken["ap"]
    rows = [row("CE", 0, 0.4), broken]
    where = folders(tmp_path, rows)
    write_report(*where)
    line = next(line for line in (where[2] / "results.md").read_text().splitlines() if "| CE |" in line)
    assert "| 0.200 ± 0.283 |" in line and line.endswith("| 1 |")


def test_search_marks_the_best_setting(tmp_path):
    values = ((0.1, 0, 0.3), (0.2, 0, 0.5), (0.3, 0, 0.4), (0.3, 1, 0.0))
    rows = [row("CE", seed, value, setting={"lr": lr, "loss_weight": 1}) for lr, seed, value in values]
    where = folders(tmp_path, rows, STUDY + "search = dict(lr=[0.1, 0.2], loss_weight=[1])\n")
    write_report(*where)
    text = (where[2] / "results.md").read_text()
    assert "| CE | 0.300 | **0.500** | 0.200 (1 of 2 collapsed) |" in text
    assert (
        "|  | AP50 disc at lr 0.1, x 1 | AP50 disc at its best |\n| --- | --- | --- |\n| CE | 0.400 | 0.600 |" in text
    )


def test_answers_name_the_difference_they_rest_on(tmp_path):
    values = {"CE": (0.30, 0.34, 0.38), "Focal": (0.40, 0.43, 0.49)}
    rows = [row(method, seed, value) for method, found in values.items() for seed, value in enumerate(found)]
    configs, results, docs = folders(tmp_path, rows)
    (docs / "results.md").write_text("# Results\n\n<!-- answers -->\n<!-- end of answers -->\n")
    (docs / "studies").mkdir()
    claim = "{study: trial, where: 0%, method: CE, less: Focal, label: CE}"
    asked = f'- {{question: "Which?", answer: Focal., rests_on: [{claim}]}}'
    (docs / "studies" / "answers.yml").write_text(asked)
    write_report(configs, results, docs)
    difference = paired_difference(rows[:3], rows[3:])
    assert f"| Which? | Focal. | CE: {difference}, n = 3 |" in (docs / "results.md").read_text()
    (docs / "studies" / "answers.yml").write_text(asked.replace("0%", "40%"))
    with pytest.raises(UserError, match="no seed that 'CE' and 'Focal' have in common"):
        write_report(configs, results, docs)


def test_answers_of_a_readme_beside_the_pages(tmp_path):
    configs, results, docs = folders(tmp_path, [row("CE", 0, 0.3), row("Focal", 0, 0.4)])
    (tmp_path / "README.md").write_text("Ours.\n")
    written = write_report(configs, results, docs)
    assert tmp_path / "README.md" not in written
    claim = "{study: trial, where: 0%, method: CE, less: Focal, label: CE}"
    (docs / "which_loss.yml").write_text(f"- {{question: Clean, answer: Focal, rests_on: [{claim}]}}")
    (tmp_path / "README.md").write_text("<!-- answers: which_loss.yml -->\n<!-- end of answers -->\n")
    assert tmp_path / "README.md" in write_report(configs, results, docs)
    text = (tmp_path / "README.md").read_text()
    assert "| your data | take |" in text and "| Clean | Focal | CE: -0.100 (one seed) |" in text
    (tmp_path / "README.md").write_text(text.replace("which_loss", "none"))
    with pytest.raises(UserError, match=r"names the answers none\.yml"):
        write_report(configs, results, docs)


def test_page_that_cannot_be_made(tmp_path):
    configs, results, docs = folders(tmp_path, [])
    write_report(configs, results, docs)
    assert "No results yet." in (docs / "results.md").read_text()
    (configs / "trial.py").unlink()
    with pytest.raises(UserError, match="names the study trial"):
        write_report(configs, results, docs)
    (docs / "results.md").unlink()
    with pytest.raises(UserError, match="not found"):
        write_report(configs, results, docs)


def pages(docs: Path) -> list[Path]:
    return [docs / "results.md", *sorted((docs / "studies").glob("*.md")), docs.parent / "README.md"]


def copy_pages(docs: Path) -> None:
    docs.mkdir()
    for name in ("results.md", "which_loss.yml", "../README.md"):
        shutil.copy(REPO / "docs" / name, docs / name)
    shutil.copytree(REPO / "docs" / "studies", docs / "studies")


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory) -> Path:
    """This repository's pages and figures, made anew from results/ in an empty folder."""
    docs = tmp_path_factory.mktemp("rebuilt") / "docs"
    copy_pages(docs)
    write_report(REPO / "configs" / "studies", REPO / "results", docs)
    return docs


def test_committed_pages_are_what_the_results_say(rebuilt):
    for made, committed in zip(pages(rebuilt), pages(REPO / "docs"), strict=True):
        assert made.read_text() == committed.read_text(), committed


def test_figures_are_the_same_bytes_every_time(rebuilt, tmp_path):
    docs = tmp_path / "docs"
    copy_pages(docs)
    write_report(REPO / "configs" / "studies", REPO / "results", docs)
    figures = sorted(path.name for path in (REPO / "docs" / "results").glob("*.svg"))
    assert figures == sorted(path.name for path in (rebuilt / "results").glob("*.svg"))
    for name in figures:
        assert (docs / "results" / name).read_bytes() == (rebuilt / "results" / name).read_bytes()


def test_figures_follow_a_light_or_dark_page(rebuilt):
    figures = sorted((rebuilt / "results").glob("*.svg"))
    assert len(figures) > 10
    for path in figures:
        style, rest = path.read_text().split("</style>", 1)
        assert "prefers-color-scheme: dark" in style
        used = set(re.findall(r"var\((--\w+)\)", rest))
        assert used and all(style.count(f"{name}: #") == 2 for name in used)
        # What matplotlib gives no colour is black, which a dark page swallows.
        texts = re.findall(r"<!-- .*? -->\s*<g ([^>]*)>", rest)
        assert texts and all("fill: var(--" in attributes for attributes in texts), path
        assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r"#m[0-9a-f]+|url\(#\w+\)", "", rest)), path


def test_no_two_methods_look_alike():
    looks = looks_of([*(f"GHM {n}" for n in range(9)), *(f"other {n}" for n in range(9))])
    assert len({(look.colours, look.line) for look in looks.values()}) == len(looks) == 18
    assert {look.width for name, look in looks.items() if "GHM" in name} == {2.4}


GENERATED = r"<!-- (?:study: \S+|answers(?:: \S+)?) -->.*?<!-- end of (?:study|answers) -->"


def test_every_figure_in_the_words_stands_in_a_table():
    # README.md has published figures beside ours.
    texts = {page: page.read_text() for page in pages(REPO / "docs") if page.name != "README.md"}
    tables = " ".join(table for text in texts.values() for table in re.findall(GENERATED, text, re.S))
    # The numbers of the method: IoU bounds of the jitter, the bound of a collapse, priors, learning rates, mu.
    given = {"0.35", "0.75", "0.01", "0.02", "0.005", "0.1"}
    for page, text in texts.items():
        words = re.sub(GENERATED, "", text, flags=re.S)
        quoted = set(re.findall(r"(?<![\d.])\d\.\d+", words)) - given
        missing = {number for number in quoted if number not in tables}
        assert not missing, f"no result says {missing} of {page}"


def test_every_study_with_results_is_on_a_page():
    text = " ".join(page.read_text() for page in pages(REPO / "docs"))
    for path in (REPO / "results").glob("*.jsonl"):
        assert f"<!-- study: {path.stem} -->" in text


def test_no_interval_of_fewer_than_three_seeds():
    """Every difference with brackets stands in a line whose n is at least 3."""
    for page in pages(REPO / "docs"):
        for line in page.read_text().splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            counts = [int(cell) for cell in cells if re.fullmatch(r"\d+", cell)]
            if counts and re.search(r"[+-]\d\.\d+ \[", line):
                assert counts[0] >= 3, (page, line)


def test_rows_of_this_repository_have_what_the_report_needs():
    for path in (REPO / "results").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            found = json.loads(line)
            assert {"method", "noise", "seed", "setting", "config_hash", "versions", "seconds", "loss"} <= set(found)
            assert ("ap" in found) != ("error" in found)
