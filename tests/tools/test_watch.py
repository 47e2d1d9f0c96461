"""tools/analysis/watch.py on a run that tools/train.py made with the hook from its command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest
from PIL import Image
from tools.running import CONFIG, call_tool, start_tool, write_shapes

from ghm_mmdet.gradient_norms.log import FILE_NAME, read_records

TOOL = "analysis/watch"
HOOK = ["default_hooks.gradient_norm.type=ghm_mmdet.GradientNormHook", "default_hooks.gradient_norm.interval=1"]


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("watched")
    write_shapes(root / "data")
    config = root / "shapes_retinanet.py"
    config.write_text(CONFIG.format(data=root / "data"))
    call_tool("train", [str(config), "--work-dir", str(root / "run"), "--cfg-options", *HOOK])
    (log,) = (root / "run").glob("*/*.log")
    assert f"draw it with python tools/analysis/watch.py {root / 'run'}" in log.read_text()
    return root / "run"


@pytest.fixture
def run(watched, tmp_path) -> Path:
    """A copy to write into."""
    shutil.copytree(watched, tmp_path / "run", ignore=shutil.ignore_patterns("*.pth"))
    return tmp_path / "run"


def test_animation_from_a_shell(run):
    done = start_tool(f"{TOOL}.py", run)
    assert done.returncode == 0, done.stderr
    assert "8 records, iterations 1 to 8" in done.stdout and "100%" in done.stderr
    with Image.open(run / "gradient_norms.gif") as gif:
        assert gif.n_frames == 8 and gif.info["loop"] == 0
        frames = []
        for index in range(gif.n_frames):
            gif.seek(index)
            frames.append(gif.convert("RGB").tobytes())
    assert len(set(frames)) == 8


def test_strip_by_flag_or_by_name_and_from_elsewhere(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    call_tool(TOOL, ["run", "--strip"])
    call_tool(TOOL, ["run", "--out", "new/folder/strip.png"])
    assert f"written: {Path('new/folder/strip.png')}" in capsys.readouterr().out
    strip, again = (cv2.imread(str(path)) for path in (run / "gradient_norms.png", "new/folder/strip.png"))
    assert (strip == again).all() and strip.shape[1] > 2 * strip.shape[0] and strip.std() > 10


def test_a_torn_end_is_said_and_the_rest_is_drawn(run, capsys):
    with (run / FILE_NAME).open("a") as file:
        file.write('{"iteration":9,"losses":{"bbox')
    call_tool(TOOL, [str(run), "--strip"])
    said = capsys.readouterr()
    assert "1 record cut off" in said.err and "8 records" in said.out


def test_one_record_is_enough(run, capsys):
    path = run / FILE_NAME
    path.write_text(path.read_text().splitlines()[0] + "\n")
    for flags in ([], ["--strip"]):
        call_tool(TOOL, [str(run), *flags])
    assert capsys.readouterr().out.count("1 records, iterations 1 to 1") == 2
    with Image.open(run / "gradient_norms.gif") as gif:
        assert gif.n_frames == 1


def test_a_loss_that_is_not_called_at_first_is_drawn_when_it_is(run):
    from ghm_mmdet.gradient_norms.picture import as_image, draw_record, limits_of, write_strip

    records, _ = read_records(run)
    records[0].losses.pop("bbox_head.loss_cls")
    write_strip(records, run / "strip.png")
    limits = limits_of(records)
    whole, without = (as_image(draw_record(record, limits)) for record in (records[-1], records[0]))
    assert whole.shape == without.shape


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["gone"], ["work_dir not found", "gone"]),
        (["."], ["no gradient_norms.jsonl in", "default_hooks.gradient_norm.type=ghm_mmdet.GradientNormHook"]),
        (["{run}", "--out", "a.mp4"], ["--out must end in .gif or .png", "a.mp4"]),
        (["{run}", "--strip", "--out", "a.gif"], ["--out must end in .png", "a.gif"]),
        (["{run}", "--out", "{run}/gradient_norms.jsonl/a.png"], ["gradient_norms.jsonl"]),
    ],
)
def test_bad_input_is_plain(watched, fails, arguments, expected):
    fails(TOOL, [argument.format(run=watched) for argument in arguments], *expected)


def test_a_foreign_file_is_plain(tmp_path_factory, fails):
    folder = tmp_path_factory.mktemp("foreign")
    (folder / FILE_NAME).write_text('{"step": 1, "loss": 2}\n')
    fails(TOOL, [folder], "line 1 is no record of GradientNormHook", FILE_NAME)
