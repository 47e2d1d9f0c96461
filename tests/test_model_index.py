"""model-index.yml as OpenMMLab's tools read it, and its figures against the tables they are taken from."""

from __future__ import annotations

import re
from pathlib import Path

import mmdet
import modelindex
import pytest
import yaml
from mmengine.infer import BaseInferencer

REPO = Path(__file__).resolve().parents[1]
ROW = re.compile(r"\| \[(?P<name>[^\]]+)\]\((?P<path>[^)]+)\) \| .* \| (?P<published>.*?) \| (?P<source>.*?) ?\|")


@pytest.fixture(scope="module")
def models() -> dict[str, dict]:
    """Read as DetInferencer reads mmdet's own."""
    listed = list(BaseInferencer._get_models_from_metafile(str(REPO)))
    models = {model["Name"]: model for model in listed}
    assert len(models) == len(listed)
    return models


def table() -> dict[str, re.Match]:
    rows = map(ROW.fullmatch, (REPO / "configs" / "README.md").read_text().splitlines())
    return {row["name"]: row for row in rows if row and row["published"] != "none"}


def figures(cell: str) -> list[float]:
    """The figures of a cell such as "R-101, 600 px: 31.1"."""
    return sorted(float(number) for number in re.findall(r"\d+(?:\.\d+)?", re.sub(r"R-101|600 px|L1", "", cell)))


def metrics(model: dict) -> dict[str, float]:
    return {name: value for result in model["Results"] for name, value in result["Metrics"].items()}


def test_library_of_the_format_finds_nothing_wrong(models: dict) -> None:
    index = modelindex.load(str(REPO / "model-index.yml"))
    assert index.check(silent=True) == []
    assert [model.name for model in index.models] == list(models)
    # Each belongs to a collection, from which it takes its paper.
    assert all(model.full_model.paper["URL"].startswith("https://arxiv.org/abs/") for model in index.models)


def test_every_metafile_is_imported() -> None:
    imported = yaml.safe_load((REPO / "model-index.yml").read_text())["Import"]
    assert sorted(imported) == sorted(str(path.relative_to(REPO)) for path in REPO.glob("configs/*/metafile.yml"))


def test_configs_exist_and_bear_the_name(models: dict) -> None:
    for name, model in models.items():
        assert (REPO / model["Config"]).is_file(), model["Config"]
        assert Path(model["Config"]).stem == name


def test_published_figures_are_those_of_the_table_and_no_others(models: dict) -> None:
    rows = table()
    assert len(rows) >= 25
    for name, row in rows.items():
        published = {metric: value for metric, value in metrics(models[name]).items() if "(published" in metric}
        assert sorted(published.values()) == figures(row["published"]), name
        assert models[name]["Metadata"]["Published By"] == row["source"]
        assert models[name]["Config"] == f"configs/{row['path']}"
        for word in ("R-101", "600 px", "about", "without warm-up", "with L1"):
            assert any(word in metric for metric in published) == (word in row["published"]), name
    for name, model in models.items():
        assert all(re.search(r"\((published|ours)\b.*\)$", metric) for metric in metrics(model))
        assert name in rows or not any("(published" in metric for metric in metrics(model)), name


def test_weights_are_mmdets_with_the_figure_that_mmdet_gives(models: dict) -> None:
    zoo = {}
    for folder in ("ghm", "retinanet", "faster_rcnn"):
        for model in BaseInferencer._get_models_from_metafile(str(Path(mmdet.__file__).parent / ".mim")):
            if model["Config"].startswith(f"configs/{folder}/"):
                zoo[model["Weights"]] = metrics(model)["box AP"]
    with_weights = [model for model in models.values() if "Weights" in model]
    assert len(with_weights) >= 9
    for model in with_weights:
        assert metrics(model)["box AP (published)"] == zoo[model["Weights"]], model["Name"]


def test_our_figures_are_those_of_the_readme(models: dict) -> None:
    readme = (REPO / "README.md").read_text()
    ap50, ap = re.search(r"reaches AP50 ([\d.]+) \(mAP ([\d.]+)\)", readme).groups()
    demo = models["retinanet_ghm_digits"]
    assert metrics(demo) == {"box AP (ours)": round(100 * float(ap)), "box AP50 (ours)": round(100 * float(ap50))}
    assert demo["Metadata"]["Training Command"] == "make demo"
    assert demo["Metadata"]["Epochs"] == 14
