"""What a folder of a run says about its gradient norms, whole or torn."""

from __future__ import annotations

import json

import pytest

from ghm_mmdet.errors import UserError
from ghm_mmdet.gradient_norms.log import FILE_NAME, LossRecord, Record, append_record, read_records


def record(iteration: int, **changes) -> Record:
    loss = dict(kind="classification", type="GHMC", count=[iteration, 1], weight=[0.5, 2.0], share=[0.25, 0.75])
    return Record(iteration, {"bbox_head.loss_cls": LossRecord(**loss | changes)})


def test_records_come_back_as_they_were(tmp_path):
    written = [record(1), record(50), record(100)]
    for each in written:
        append_record(tmp_path, each)
    assert read_records(tmp_path) == (written, 0)


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_line_cut_off_by_a_kill_costs_only_itself(tmp_path, cut):
    for iteration in (1, 50, 100):
        append_record(tmp_path, record(iteration))
    path = tmp_path / FILE_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2].rstrip(b"\n")[:cut])
    assert read_records(tmp_path) == ([record(1), record(50)], 1)
    append_record(tmp_path, record(100))
    append_record(tmp_path, record(150))
    assert read_records(tmp_path) == ([record(1), record(50), record(100), record(150)], 0)
    assert path.read_bytes().startswith(b"".join(lines[:2])), "what was there is lost"


def test_a_last_line_without_its_end_of_line_is_whole(tmp_path):
    append_record(tmp_path, record(1))
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    append_record(tmp_path, record(2))
    assert read_records(tmp_path) == ([record(1), record(2)], 0)


def test_a_resumed_run_takes_the_place_of_what_lies_ahead(tmp_path):
    for iteration in (1, 50, 100, 150):
        append_record(tmp_path, record(iteration))
    append_record(tmp_path, record(100, share=[0.5, 0.5]))
    assert read_records(tmp_path)[0] == [record(1), record(50), record(100, share=[0.5, 0.5])]
    append_record(tmp_path, record(1, type="FocalLoss"))
    assert read_records(tmp_path)[0] == [record(1, type="FocalLoss")]


def test_no_folder_no_file_nothing_yet(tmp_path):
    with pytest.raises(UserError, match=r"work_dir not found: .*gone"):
        read_records(tmp_path / "gone")
    with pytest.raises(UserError) as error:
        read_records(tmp_path)
    assert f"no {FILE_NAME} in {tmp_path}" in str(error.value)
    assert "default_hooks.gradient_norm.type=ghm_mmdet.GradientNormHook" in str(error.value)
    (tmp_path / FILE_NAME).write_text('{"iteration":1,"los')
    with pytest.raises(UserError, match="nothing recorded yet"):
        read_records(tmp_path)


LOSS = {"kind": "classification", "type": "GHMC", "count": [1, 2], "weight": [1, 1], "share": [0.5, 0.5]}


@pytest.mark.parametrize(
    "line",
    [
        "7",
        "[]",
        "{}",
        '{"iteration": 1, "losses": {}}',
        '{"iteration": 1, "losses": []}',
        *(
            json.dumps({"iteration": iteration, "losses": {"a": LOSS | change}})
            for iteration, change in [
                ("1", {}),
                (1, {"count": [1]}),
                (1, {"count": []}),
                (1, {"count": [0, 0]}),
                (1, {"count": None}),
                (1, {"count": [10**400, 1]}),
                (True, {}),
                (1, {"share": ["a", "b"]}),
                (1, {"share": [-1, 2]}),
                (1, {"weight": [float("nan"), 1]}),
                (1, {"kind": "song"}),
                (1, {"colour": 1}),
            ]
        ),
    ],
)
def test_a_foreign_line_is_named(tmp_path, line):
    append_record(tmp_path, record(1))
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match="line 2 is no record of GradientNormHook"):
        read_records(tmp_path)
