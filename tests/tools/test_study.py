"""tools/study.py: a small study for real, interrupted and gone on with, and what it says to bad input."""

from __future__ import annotations

import fcntl
import json
import re
from pathlib import Path

import pytest
from tools.running import REPO, assert_plain, call_tool, run_tool

STUDY = """
title = "A trial"
methods = dict(GHM="shapes.py", CE=dict(config="shapes.py", options={
    "model.bbox_head.loss_cls": dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0)}))
seeds = [5]
noise = [0.3]
reference = "CE"
options = {"train_cfg.val_interval": 2, "train_cfg.max_epochs": 2}
"""


@pytest.fixture
def study(shapes, tmp_path) -> Path:
    folder = tmp_path / "configs" / "studies"
    folder.mkdir(parents=True)
    (folder.parent / "shapes.py").write_text(shapes.config.read_text())
    (folder / "trial.py").write_text(STUDY)
    return folder / "trial.py"


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_and_repeats_itself(study, tmp_path):
    arguments = (study, "--results", tmp_path / "results", "--work-dir", tmp_path / "runs", "--threads", 1)
    done = run_tool("study.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "trial: 2 runs, 0 done before" in done.stdout
    path = tmp_path / "results" / "trial.jsonl"
    first = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["method"] for row in first} == {"GHM", "CE"}
    for row in first:
        assert row["seed"] == 5 and row["noise"] == 0.3 and row["seconds"] > 0
        assert set(row["ap"]["class"]) == {"disc", "square", "bar"}
        assert [step for step, _ in row["loss"]] == list(range(1, 9))
        assert f"mAP {row['ap']['mAP']:.3f}" in done.stdout
    assert first[0]["config_hash"] != first[1]["config_hash"]
    assert not list(tmp_path.glob("runs/**/*.pth"))

    # As after a kill: one row, and half of the next.
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:50])
    again = run_tool("study.py", *arguments)
    assert again.returncode == 0, again.stderr
    assert "trial: 2 runs, 1 done before" in again.stdout
    second = [json.loads(line) for line in path.read_text().splitlines()]
    assert second[0] == first[0]
    assert second[1]["config_hash"] == first[1]["config_hash"]
    assert second[1]["ap"]["mAP"] == pytest.approx(first[1]["ap"]["mAP"], abs=1e-3)
    assert second[1]["loss"] == first[1]["loss"]

    # Another study that holds one of the runs under another name takes it over.
    other = study.with_name("other.py")
    other.write_text(
        STUDY.replace("CE=dict(", "other=dict(").replace('GHM="shapes.py", ', "").replace('"CE"\n', '"other"\n')
    )
    taken = run_tool("study.py", other, *arguments[1:])
    assert taken.returncode == 0, taken.stderr
    assert "other: 1 runs, 1 done before" in taken.stdout
    (row,) = [json.loads(line) for line in (tmp_path / "results" / "other.jsonl").read_text().splitlines()]
    (ce,) = (row for row in second if row["method"] == "CE")
    assert row == {**ce, "study": "other", "method": "other"}


@pytest.mark.slow
def test_a_loss_that_diverges_is_a_result_and_a_mistake_is_none(study, tmp_path):
    settings = ("--results", tmp_path / "results", "--work-dir", tmp_path / "runs", "--threads", 1)
    text = study.read_text()
    hook = '"custom_hooks": [dict(type="ghm_mmdet.FiniteLossHook", interval=1)]'
    blown_up = f'"optim_wrapper.optimizer.lr": 1e30, "optim_wrapper.clip_grad": None, {hook},'
    study.write_text(text.replace("options = {", "options = {" + blown_up))
    done = run_tool("study.py", study, *settings)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "results" / "trial.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert "ap" not in row
        assert re.search(r"bbox_head\.loss_\w+ is (nan|inf) at iteration \d", row["error"])

    study.write_text(text.replace('type="CrossEntropyLoss"', 'type="NoSuchLoss"'))
    done = run_tool("study.py", study, *settings)
    assert_plain(done.returncode, done.stderr, "CE_noise0.3_seed5 failed", "NoSuchLoss", "output.txt")
    assert all(row["method"] == "GHM" for row in rows_after(tmp_path, len(rows)))


@pytest.mark.slow
def test_a_method_on_two_ranks(study, tmp_path):
    text = study.read_text()
    hook = '"custom_hooks": [dict(type="ghm_mmdet.FiniteLossHook", interval=1)]'
    two = f"""methods = dict(
    two=dict(config="shapes.py", ranks=2, options={{"train_dataloader.batch_size": 1, {hook}}}),
    broken=dict(config="shapes.py", ranks=2, options={{"optim_wrapper.optimizer.lr": 1e30,
        "optim_wrapper.clip_grad": None, {hook}}}))
seeds"""
    study.write_text(re.sub(r"methods = .*?\nseeds", two, text, flags=re.S).replace('reference = "CE"', ""))
    arguments = ("--results", tmp_path / "results", "--work-dir", tmp_path / "runs", "--threads", 2)
    done = run_tool("study.py", study, *arguments)
    assert done.returncode == 0, done.stderr
    rows = {row["method"]: row for row in rows_after(tmp_path, 0)}
    assert rows["two"]["ap"]["mAP"] >= 0
    assert re.search(r" is (nan|inf) at iteration \d", rows["broken"]["error"])
    log = next((tmp_path / "runs" / "trial").glob("two*/*/*.log")).read_text()
    assert "MMDistributedDataParallel" in log or "Distributed training: True" in log


@pytest.mark.slow
def test_scenes_are_made_measured_and_trained_on(tmp_path):
    folder = tmp_path / "configs" / "studies"
    folder.mkdir(parents=True)
    digits = REPO / "configs" / "digits" / "retinanet_ce_lite0_digits.py"
    (folder / "trial.py").write_text(f"""
methods = dict(CE="{digits}")
common = dict(object_size=[16, 24], num_train=8, num_val=4)
scenes = dict(
    dense=dict(common, image_size=[64, 64], objects_per_image=[3, 3], num_classes=2),
    sparse=dict(common, image_size=[96, 96], objects_per_image=[1, 1], num_classes=9),
)
del common
options = {{"train_cfg.max_epochs": 1, "train_cfg.val_interval": 1, "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False, "val_dataloader.num_workers": 0,
    "val_dataloader.persistent_workers": False, "model.test_cfg.score_thr": 0.0}}
""")
    arguments = ("--results", tmp_path / "results", "--work-dir", tmp_path / "runs", "--threads", 1)
    done = run_tool("study.py", folder / "trial.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "results" / "trial.jsonl").read_text().splitlines()]
    dense, sparse = rows
    assert dense["scenes"] == "dense" and sparse["scenes"] == "sparse"
    assert set(dense["ap"]["class"]) <= {"0", "1"} and len(sparse["ap"]["class"]) > 1
    assert sparse["imbalance"] > 10 * dense["imbalance"] > 10
    assert len(list((tmp_path / "runs" / "scenes").iterdir())) == 2


def rows_after(tmp_path: Path, count: int) -> list[dict]:
    lines = (tmp_path / "results" / "trial.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines[count:]]


def test_one_process_at_a_time(study, tmp_path, capsys):
    results = tmp_path / "results"
    results.mkdir()
    with open(results / "trial.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemExit) as stop:
            call_tool("study", [str(study), "--results", str(results)])
    assert_plain(stop.value.code, capsys.readouterr().err, "another study command", "trial.jsonl")


def test_bad_input(fails, tmp_path):
    fails("study", [tmp_path / "none.py"], "config not found", "none.py")
    fails("study", ["--report", "--docs", tmp_path], "not found", "results.md")


@pytest.mark.parametrize("arguments", [[], ["a.py", "--report"], ["a.py", "--jobs", "0"]])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        call_tool("study", arguments)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err
