"""tools/check_dataset.py: exit codes, what it prints where, and no traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_detectors import retinanet
from tools.running import CONFIG, call_tool, run_tool, start_tool, write_shapes

TOOL = "check_dataset"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_shapes(tmp_path / "data", images=3)
    return Path(retinanet(tmp_path, tmp_path / "data").filename)


def test_good_data(config):
    before = sorted(config.parent.rglob("*"))
    done = start_tool(f"{TOOL}.py", config, cwd=config.parent)
    assert done.returncode == 0, done.stderr
    assert "images" in done.stderr and "100%" in done.stderr
    assert "per class: disc 3, square 3, bar 3" in done.stdout
    assert re.search(r"anchors matched per object, bbox_head \(RetinaHead\): mean \d", done.stdout)
    assert done.stdout.endswith("Nothing was found that would break training.\n")
    assert " - INFO - " not in done.stdout
    assert sorted(config.parent.rglob("*")) == before


@pytest.mark.parametrize("harm", ["cut", "junk", "ugly name", "image"])
def test_bad_data(config, harm):
    annotations = config.parent / "data" / "annotations.json"
    text = annotations.read_text()
    if harm == "cut":
        annotations.write_text(text[: len(text) // 2])
    elif harm == "junk":
        annotations.write_bytes(bytes(range(256)))
    elif harm == "ugly name":
        annotations.write_text(text.replace('"0.png"', r'"\ud800\n\u001b[31m图.png"'))
    else:
        (config.parent / "data" / "images" / "0.png").write_bytes(b"no picture")
    encoding = {"PYTHONIOENCODING": "ascii"} if harm == "ugly name" else {}
    done = run_tool(f"{TOOL}.py", config, **encoding)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "breaks training: " in done.stdout and done.stdout.endswith("Training would break.\n")
    assert {"cut": "annotations.json", "junk": "annotations.json", "ugly name": r"\ud800\n\x1b[31m"}.get(
        harm, "0.png"
    ) in done.stdout


@pytest.mark.parametrize(
    ("option", "part"),
    [
        (
            "model.data_preprocessor.pad_size_divisor=0",
            "model.data_preprocessor: a training step fails: ZeroDivisionError",
        ),
        ("model.bbox_head.anchor_generator.strides=[8,16]", "model.bbox_head: a training step fails: AssertionError"),
        ("model.test_cfg=None", "model.bbox_head: a prediction fails"),
    ],
)
def test_a_model_that_cannot_take_a_step(option, part, config, capsys):
    with pytest.raises(SystemExit) as stop:
        call_tool("check", [str(config), "--cfg-options", option])
    output = capsys.readouterr()
    assert stop.value.code == 1 and part in output.out and output.out.endswith("Training would break.\n")
    assert "Traceback" not in output.err


def test_a_loss_that_would_be_wrong_in_silence(tmp_path, capsys):
    """The model comes after the data."""
    write_shapes(tmp_path / "data", images=2)
    config = tmp_path / "shapes.py"
    config.write_text(CONFIG.format(data=tmp_path / "data"))
    for decoded, code in (("True", 1), ("False", 0)):
        try:
            call_tool("check", [config, "--cfg-options", f"model.bbox_head.reg_decoded_bbox={decoded}"])
            left = 0
        except SystemExit as exit:
            left = exit.code
        out = capsys.readouterr().out
        assert "INFO" not in out and left == code and ("GHMR was given boxes in pixels" in out) is bool(code)
        assert out.endswith(("Nothing was found that would break training.\n", "Training would break.\n")[code])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--cfg-options", "nonsense"], ["'nonsense' is not of the form key=value"]),
        (["--cfg-options", "train_dataloader.dataset.type=Nothing"], ["unknown type 'Nothing'"]),
        (["--cfg-options", "model.bbox_head.colour=4"], ["model", "colour"]),
    ],
)
def test_wrong_use_is_plain(tmp_path_factory, fails, arguments, expected):
    folder = tmp_path_factory.mktemp("config")
    write_shapes(folder / "data", images=2)
    fails(TOOL, [retinanet(folder, folder / "data").filename, *arguments], *expected)


def test_a_missing_config_is_plain(fails):
    fails(TOOL, ["gone.py"], "config not found", "gone.py")


def test_a_config_without_data_is_plain(fails, tmp_path_factory):
    config = tmp_path_factory.mktemp("config") / "empty.py"
    config.write_text("x = 1\n")
    fails(TOOL, [config], "the config defines no data set", str(config))
