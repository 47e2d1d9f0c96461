"""model-index.yml as OpenMMLab's tools read it, and its figures against what MMDetection and the README say."""

from __future__ import annotations

import re
from pathlib import Path

import mmdet
import modelindex
import pytest
import yaml
from mmengine.infer import BaseInferencer

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def models() -> dict[str, dict]:
    """Read as DetInferencer reads mmdet's own."""
    listed = list(BaseInferencer._get_models_from_metafile(str(REPO)))
    models = {model["Name"]: model for model in listed}
    assert len(models) == len(listed)
    return models


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
        stem = Path(model["Config"]).stem
        # A variant by options bears the config's name first.
        assert name.startswith(f"{stem}_") if "Options" in model["Metadata"] else name == stem


def test_figures_say_whose_they_are(models: dict) -> None:
    assert len(models) >= 25
    for name, model in models.items():
        assert metrics(model) and all(re.search(r"\((published|ours)\b.*\)$", metric) for metric in metrics(model))
        published = any("(published" in metric for metric in metrics(model))
        assert ("Published By" in model["Metadata"]) == published, name
        # Weights of a variant do not fit the config without its options.
        assert not ("Weights" in model and "Options" in model["Metadata"]), name


def test_weights_are_mmdets_with_the_figure_that_mmdet_gives(models: dict) -> None:
    zoo = {}
    for folder in ("ghm", "retinanet", "faster_rcnn"):
        for model in BaseInferencer._get_models_from_metafile(str(Path(mmdet.__file__).parent / ".mim")):
            if model["Config"].startswith(f"configs/{folder}/"):
                zoo[model["Weights"]] = metrics(model)["box AP"]
    weights = {
        name: model.get("Weights") or model["Metadata"].get("Weights With Options") for name, model in models.items()
    }
    assert sum(address is not None for address in weights.values()) == 9
    for name, address in weights.items():
        assert address is None or metrics(models[name])["box AP (published)"] == zoo[address], name


def test_our_figures_are_those_of_the_quick_start(models: dict) -> None:
    page = (REPO / "docs" / "quick_start.md").read_text()
    ap50, ap = re.search(r"reaches AP50 ([\d.]+) \(mAP ([\d.]+)\)", page).groups()
    demo = models["retinanet_ghm_digits"]
    assert metrics(demo) == {"box AP (ours)": round(100 * float(ap)), "box AP50 (ours)": round(100 * float(ap50))}
    assert demo["Metadata"]["Training Command"] == "make demo"
    assert demo["Metadata"]["Epochs"] == 14
