"""Result files that survive a kill, and what is read from them."""

from __future__ import annotations

import json

import pytest

from ghm_mmdet.errors import UserError
from ghm_mmdet.experiments.study.results import append_result, best_setting, collapsed, read_results


def row(method: str, lr: float, value: float | None, seed: int = 0) -> dict:
    result = {"error": "loss_cls is nan"} if value is None else {"ap": {"mAP": value}}
    name = f"{method} {lr} {seed}"
    return {"method": method, "config_hash": name, "setting": {"lr": lr, "loss_weight": 1}, "seed": seed, **result}


def test_rows_come_back(tmp_path):
    path = tmp_path / "deep" / "results.jsonl"
    rows = [row("CE", 0.01, 0.4), row("CE", 0.02, None)]
    assert read_results(path) == []
    for each in rows:
        append_result(path, each)
    assert read_results(path) == rows
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows


def test_half_a_line_at_the_end_is_left_out_and_overwritten(tmp_path):
    path = tmp_path / "results.jsonl"
    append_result(path, row("CE", 0.01, 0.4))
    with path.open("a") as file:
        file.write('{"method": "CE", "sett')
    assert read_results(path) == [row("CE", 0.01, 0.4)]
    append_result(path, row("CE", 0.02, 0.5))
    assert read_results(path) == [row("CE", 0.01, 0.4), row("CE", 0.02, 0.5)]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"method": "CE"}\n{"meth\n{"method": "CE"}\n')
    with pytest.raises(UserError, match=r"line 2 of .*results\.jsonl"):
        read_results(path)


@pytest.mark.parametrize("line", ["3", "[]", '"row"', "null", "{}", '{"method": "CE"}'])
def test_a_line_that_is_no_row_is_named(line, tmp_path):
    path = tmp_path / "results.jsonl"
    append_result(path, row("CE", 0.01, 0.4))
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UserError, match=r"line 2 of .*results\.jsonl is no result of a study"):
        read_results(path)


def test_best_setting_is_that_of_the_highest_mean():
    rows = [row("CE", 0.01, 0.5), row("CE", 0.01, 0.3, 1), row("CE", 0.02, 0.45), row("CE", 0.02, 0.41, 1)]
    rows += [row("Focal", 0.01, None), row("Focal", 0.02, 0.02)]
    assert best_setting(rows, "CE") == {"lr": 0.02, "loss_weight": 1}
    assert best_setting(rows, "Focal") == {"lr": 0.02, "loss_weight": 1}
    assert best_setting(rows, "GHM") is None


@pytest.mark.parametrize(("value", "expected"), [(None, True), (0.0, True), (0.009, True), (0.02, False)])
def test_collapsed(value, expected):
    assert collapsed(row("CE", 0.01, value)) is expected
