"""tools/benchmark.py: what it prints and writes, and how it refuses bad input."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from tools.running import assert_plain, run_tool, start_tool

from ghm_mmdet.experiments.benchmark.losses import Row, losses_of_mmdet
from ghm_mmdet.experiments.benchmark.tables import growths
from ghm_mmdet.nn import GHMC, GHMR

LOSSES = {"BCE, one-hot given", "mmdet GHMC", "GHMC", "GHMC, reference", "GHMC, exact", "mmdet FocalLoss"}
BOX_LOSSES = {"mmdet GHMR", "GHMR", "GHMR, reference", "GHMR, exact"}


def row(elements: int, seconds: float, bins: int = 30) -> Row:
    return Row("a loss", "classification", elements, 1, bins, "float32", seconds, seconds, seconds, 0, 1.0, 0, 1.0)


def test_growth_is_the_exponent_over_n_log_n():
    sizes = [10**5, 10**6, 10**7]
    (growth,) = growths([*(row(n, 3e-9 * n * math.log(n)) for n in sizes), row(10**6, 50.0, bins=300)])
    assert growth.exponent == pytest.approx(1) and growth.error == pytest.approx(0, abs=1e-9)
    (growth,) = growths([row(n, 1e-12 * (n * math.log(n)) ** 2) for n in sizes])
    assert growth.exponent == pytest.approx(2)
    (growth,) = growths([row(n, 3e-9 * n * math.log(n) * factor) for n, factor in zip(sizes, (1.0, 1.5, 1.0))])
    assert 0.2 < growth.error < 0.5
    assert growths([row(10**5, 1.0), row(10**6, 10.0)]) == []
    # One element has no N log N, and one size measured three times no growth.
    assert growths([row(n, 1.0) for n in (1, 10, 100)]) == growths([row(10, 1.0)] * 3) == []


@pytest.mark.slow
def test_losses(tmp_path: Path):
    done = start_tool(
        "benchmark.py", "losses", "--elements", 2000, 4000, 8000, "--bins", 10, "--classes", 4, "--rounds", 2,
        "--device", "cpu", "--clock", "cpu", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "work_dirs/benchmark/losses.json").read_text())
    assert written["machine"]["threads"] >= 1 and written["machine"]["clock"] == "cpu"
    cases = {}
    for entry in written["rows"]:
        assert 0 < entry["lower_quartile"] <= entry["median"] <= entry["upper_quartile"]
        cases.setdefault((entry["task"], entry["samples"], entry["bins"]), []).append(entry)
    for boxes in (20_000, 512):
        assert {entry["loss"] for entry in cases.pop(("regression", boxes, 10))} == BOX_LOSSES | {"copy"}
    assert set(cases) == {("classification", samples, 10) for samples in (500, 1000, 2000)}
    for entries in cases.values():
        assert {entry["loss"] for entry in entries} == LOSSES | {"copy"}
        copy = entries[-1]
        size = entries[0]["samples"] * 4 * 4
        assert copy["loss"] == "copy" and copy["bytes"] == 2 * size and copy["share_of_copy"] == pytest.approx(1)
        for entry in entries:
            assert entry["ratio"] == pytest.approx(entry["median"] / entries[0]["median"])
            assert entry["bytes"] >= 3 * size or entry is copy
            share = entry["bytes"] / entry["median"] / (copy["bytes"] / copy["median"])
            assert entry["share_of_copy"] == pytest.approx(share)
    assert (tmp_path / "work_dirs/benchmark/losses.png").read_bytes().startswith(b"\x89PNG")
    assert done.stdout.count("time ~ (N log N)^") == len(LOSSES)
    assert 0 < float(re.search(r"first call in a new process: (\S+) s", done.stdout)[1]) < 60


def test_beside_mmdet_stands_the_same_moving_average():
    mmdet = losses_of_mmdet()
    assert mmdet["GHMC"](30).momentum == GHMC().momentum == 0.75
    assert mmdet["GHMR"](10).momentum == GHMR().momentum == 0.7


@pytest.mark.slow
def test_steps(shapes, tmp_path: Path):
    configs = [shapes.config, shapes.config]
    configs[1] = tmp_path / "focal.py"
    configs[1].write_text(
        f'_base_ = "{shapes.config}"\nmodel = dict(bbox_head=dict(loss_cls=dict(_delete_=True, type="FocalLoss")))\n'
    )
    # The ratio is the median of the rounds' ratios, which is that of the medians only in a single round.
    done = run_tool("benchmark.py", "step", *configs, "--rounds", 1, "--batches", 1, "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = json.loads((tmp_path / "work_dirs/benchmark/step.json").read_text())["rows"]
    assert first["ratio"] == 1 and second["ratio"] == pytest.approx(second["median"] / first["median"], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["step", "missing.py"], "missing.py"),
        (["losses", "--device", "cuda"], "--device cuda"),
        (["losses", "--out", "a_file"], "--out must be a folder"),
    ],
    ids=str,
)
def test_bad_input(arguments, expected, tmp_path: Path):
    (tmp_path / "a_file").write_text("")
    done = run_tool("benchmark.py", *arguments, cwd=tmp_path)
    assert_plain(done.returncode, done.stderr, expected)


def test_bad_numbers(tmp_path: Path):
    for arguments in (["losses", "--rounds", 0], ["losses", "--positives", 2], ["losses", "--elements", "many"]):
        done = run_tool("benchmark.py", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert arguments[1] in done.stderr
