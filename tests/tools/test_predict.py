"""tools/predict.py, and MMDetection's own inference with our configs and checkpoints."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from tools.fork_server import forked_python
from tools.running import REPO, Shapes, assert_plain, call_tool, environment

from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints

DIGITS = ["retinanet_ghm_digits", "digits/faster-rcnn_clean-rpn_digits", "digits/fcos_ghmc_digits"]
DIGITS += ["digits/atss_ghmc_digits", "digits/retinanet_ce_digits"]


def predict(*arguments: object) -> None:
    call_tool("predict", [str(argument) for argument in arguments])


def test_folder_is_drawn_and_written(shapes: Shapes, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    images = tmp_path / "images"
    shutil.copytree(shapes.data / "images", images)
    (images / "7.png").rename(images / "7.PNG")
    (images / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    predict(images, shapes.config, shapes.checkpoint, "--out", out, "--batch-size", 3, "--score-thr", 0.01)
    assert sorted(path.name for path in (out / "vis").iterdir()) == [*(f"{n}.png" for n in range(7)), "7.PNG"]
    predictions = {path.stem: json.loads(path.read_text()) for path in (out / "preds").iterdir()}
    assert sorted(predictions) == [str(number) for number in range(8)]
    scores = [score for found in predictions.values() for score in found["scores"]]
    assert f"8 images, {sum(score >= 0.01 for score in scores)} detections" in capsys.readouterr().out

    # The same as mmdet's other way of inference, image by image.
    allow_mmengine_checkpoints()
    model = init_detector(str(shapes.config), str(shapes.checkpoint), device="cpu")
    for name, found in predictions.items():
        image = next(images.glob(f"{name}.*"))
        expected = inference_detector(model, str(image)).pred_instances
        assert len(found["scores"]) > 0
        assert found["labels"] == expected.labels.tolist()
        numpy.testing.assert_allclose(found["bboxes"], expected.bboxes, atol=1e-3)
        numpy.testing.assert_allclose(found["scores"], expected.scores, atol=1e-5)


def test_pictures_and_predictions_can_be_left_out(shapes: Shapes, tmp_path: Path) -> None:
    image = shapes.data / "images" / "0.png"
    predict(image, shapes.config, shapes.checkpoint, "--out", tmp_path / "a", "--no-save-vis")
    assert [path.name for path in (tmp_path / "a").rglob("*") if path.is_file()] == ["0.json"]
    predict(image, shapes.config, shapes.checkpoint, "--out", tmp_path / "b", "--no-save-pred", "--pred-score-thr", 0.0)
    assert [path.name for path in (tmp_path / "b").rglob("*") if path.is_file()] == ["0.png"]
    assert (cv2.imread(str(tmp_path / "b" / "vis" / "0.png")) != cv2.imread(str(image))).any()


def test_unreadable_images_are_named_and_the_others_done(shapes, tmp_path: Path, capsys) -> None:
    images = tmp_path / "images"
    shutil.copytree(shapes.data / "images", images)
    (images / "0.png").write_bytes(b"")
    (images / "3.png").write_bytes((images / "4.png").read_bytes()[:60])
    os.mkfifo(images / "8.png")
    (images / "9.png").mkdir()
    with pytest.raises(SystemExit) as stop:
        predict(images, shapes.config, shapes.checkpoint, "--out", tmp_path / "out", "--batch-size", 2)
    said = capsys.readouterr()
    assert_plain(stop.value.code, said.err, str(images / "0.png"), "4 of 10 images", "the others are done")
    for name, what in (("8.png", "a pipe"), ("9.png", "a folder")):
        assert f"cannot read the image {images / name}, it is {what}, not a file" in said.err
    assert f"cannot decode the image {images / '3.png'}" in said.err
    assert "6 images" in said.out
    assert sorted(path.stem for path in (tmp_path / "out" / "preds").iterdir()) == ["1", "2", "4", "5", "6", "7"]


def test_an_image_that_fails_does_not_cost_the_others(shapes, tmp_path: Path, capsys) -> None:
    images = tmp_path / "images"
    shutil.copytree(shapes.data / "images", images)
    cv2.imwrite(str(images / "long.png"), numpy.zeros((1, 30000, 3), numpy.uint8))
    cv2.imwrite(str(images / "2high.png"), numpy.zeros((9000, 2, 3), numpy.uint8))
    (images / "5broken.png").write_bytes(b"x")
    with pytest.raises(SystemExit) as stop:
        predict(images, shapes.config, shapes.checkpoint, "--out", tmp_path / "out", "--batch-size", 3)
    said = capsys.readouterr()
    assert_plain(stop.value.code, said.err, "2high.png, 2 x 9000", "3 of 11 images", "the others are done")
    assert f"cannot predict on the image {images / 'long.png'}, 30000 x 1" in said.err
    assert f"cannot decode the image {images / '5broken.png'}" in said.err
    assert sorted(path.stem for path in (tmp_path / "out" / "preds").iterdir()) == list("01234567")


def test_names_with_dollars_and_without_a_font(shapes, tmp_path: Path, capsys) -> None:
    whole = torch.load(shapes.checkpoint, weights_only=False)
    whole["meta"]["dataset_meta"]["classes"] = ("$a$^", "\u732b\u72ac", "US$ _{$")
    torch.save(whole, tmp_path / "names.pth")
    arguments = ["--out", tmp_path / "out", "--pred-score-thr", 0.0]
    predict(shapes.data / "images" / "0.png", shapes.config, tmp_path / "names.pth", *arguments)
    assert (tmp_path / "out" / "vis" / "0.png").is_file()
    assert "Glyph" not in capsys.readouterr().err


def test_bad_input_is_plain(shapes: Shapes, fails, tmp_path: Path) -> None:
    image = shapes.data / "images" / "0.png"
    (tmp_path / "empty").mkdir()
    (tmp_path / "twins").mkdir()
    for name in ("a.jpg", "a.png"):
        shutil.copy(image, tmp_path / "twins" / name)
    (tmp_path / "notes.txt").write_text("no image")
    for source, *expected in (
        (tmp_path / "nowhere.png", "image not found", "nowhere.png"),
        (tmp_path / "empty", "no image (", str(tmp_path / "empty")),
        (tmp_path / "twins", "a.jpg and a.png would both write a.json"),
        (tmp_path / "notes.txt", "no image, its name must end in", "notes.txt"),
    ):
        fails("predict", [source, shapes.config, shapes.checkpoint], *expected)
    for address in (f"file://{image}", "ftp://a.b/c.png"):
        fails("predict", [address, shapes.config, shapes.checkpoint], "no way to read", address, "https://")
    fails("predict", [image, tmp_path / "no.py", shapes.checkpoint], "config not found")
    fails("predict", [image, shapes.config, tmp_path / "no.pth"], "checkpoint not found")
    fails("predict", [image, shapes.config, shapes.checkpoint, "--device", "nothing"], "--device nothing")
    for score in ("nan", "1.5", "-1", "high", "inf"):
        arguments = [image, shapes.config, shapes.checkpoint, "--score-thr", score]
        fails("predict", arguments, "--score-thr", f"got {score!r}", "a score in [0, 1]")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe.pth")
    fails("predict", [image, shapes.config, tmp_path / "pipe.pth"], "checkpoint is a pipe, a file is expected")
    for option, *expected in (
        ("model.test_cfg.score_thr=high", "model.test_cfg.score_thr is 'high'"),
        ("model.data_preprocessor.pad_size_divisor=0", "model.data_preprocessor: a prediction fails"),
        ("model.bbox_head.anchor_generator.strides=[8,16]", "model.bbox_head"),
    ):
        fails("predict", [image, shapes.config, shapes.checkpoint, "--cfg-options", option], *expected)
    (tmp_path / "file").write_text("")
    fails("predict", [image, shapes.config, shapes.checkpoint, "--out", tmp_path / "file"], "cannot write")


def test_single_unreadable_image(shapes: Shapes, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no image")
    with pytest.raises(SystemExit) as stop:
        predict(bad, shapes.config, shapes.checkpoint, "--out", tmp_path / "out")
    assert_plain(stop.value.code, capsys.readouterr().err, "cannot decode the image", str(bad))


class Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def test_checkpoints_that_are_hostile_torn_or_of_another_model(shapes: Shapes, fails, tmp_path: Path) -> None:
    image = shapes.data / "images" / "0.png"
    hostile, torn, other = (tmp_path / f"{name}.pth" for name in ("hostile", "torn", "other"))
    torch.save({"state_dict": {}, "meta": Attack(tmp_path / "marker")}, hostile)
    torn.write_bytes(shapes.checkpoint.read_bytes()[:5000])
    torch.save({"state_dict": {"encoder.weight": torch.zeros(3)}}, other)
    fails("predict", [image, shapes.config, hostile], "checkpoint refused", "None of its code ran", str(hostile))
    assert not (tmp_path / "marker").exists()
    fails("predict", [image, shapes.config, torn], "not a whole checkpoint", str(torn))
    fails("predict", [image, shapes.config, other], "has no weight of this model", str(other))


def test_inferencer_itself_reads_data_only(shapes: Shapes, tmp_path: Path) -> None:
    """It loads the checkpoint a second time, on its own."""
    from ghm_mmdet.checkpoint.safe_loading import force_weights_only

    hostile = tmp_path / "hostile.pth"
    torch.save({"state_dict": {}, "meta": Attack(tmp_path / "marker")}, hostile)
    force_weights_only()
    with pytest.raises(pickle.UnpicklingError):
        DetInferencer(str(shapes.config), str(hostile), device="cpu")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", DIGITS)
def test_every_family_of_configs_infers(name: str, tmp_path: Path) -> None:
    """As it is, with data absent, on random weights."""
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), numpy.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=numpy.uint8))
    config = str(REPO / "configs" / f"{name}.py")
    found = DetInferencer(config, device="cpu", show_progress=False)(str(image), out_dir=str(tmp_path))
    assert set(found["predictions"][0]) == {"labels", "scores", "bboxes"}
    assert (tmp_path / "vis" / "image.png").is_file()
    sample = inference_detector(init_detector(config, device="cpu"), str(image))
    assert sample.ori_shape == (120, 160)
    assert sample.pred_instances.bboxes.shape[1] == 4


@pytest.fixture(scope="module")
def workspace(shapes: Shapes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the names that docs/inference.md uses, and the small detector behind them."""
    root = tmp_path_factory.mktemp("workspace")
    for folder in ("configs", "data/digits/test", "work_dirs/retinanet_ghm_digits"):
        (root / folder).mkdir(parents=True)
    shutil.copy(shapes.config, root / "configs" / "retinanet_ghm_digits.py")
    shutil.copy(shapes.checkpoint, root / "work_dirs" / "retinanet_ghm_digits" / "epoch_14.pth")
    cv2.imwrite(
        str(root / "data" / "digits" / "test" / "000001.jpg"), cv2.imread(str(shapes.data / "images" / "0.png"))
    )
    return root


SNIPPETS = re.findall(r"```(python|bash)\n(.*?)```", (REPO / "docs" / "inference.md").read_text(), re.DOTALL)


def test_snippets_of_the_page_run_in_a_new_process(workspace: Path) -> None:
    snippets = "\n".join(code for kind, code in SNIPPETS if kind == "python")
    assert snippets.count("allow_mmengine_checkpoints()") == 3
    environ = environment(PYTHONPATH=str(REPO))
    done = subprocess.run([forked_python(), "-c", snippets], cwd=workspace, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    weights = workspace / "work_dirs" / "retinanet_ghm_digits" / "weights.pth"
    with no_safe_globals():
        model = init_detector(str(workspace / "configs" / "retinanet_ghm_digits.py"), str(weights), device="cpu")
    assert model.dataset_meta["classes"] == ("disc", "square", "bar")


def test_without_the_documented_line_mmengines_checkpoint_is_refused(shapes: Shapes) -> None:
    """The day this fails, the page can do without it."""
    with no_safe_globals(), pytest.raises(pickle.UnpicklingError, match="HistoryBuffer"):
        DetInferencer(str(shapes.config), str(shapes.checkpoint), device="cpu")


@contextmanager
def no_safe_globals() -> Iterator[None]:
    """torch's loading as it is in a new process."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        yield
    finally:
        torch.serialization.add_safe_globals(allowed)


def test_commands_of_the_page(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    commands = [line.split() for kind, code in SNIPPETS if kind == "bash" for line in code.splitlines()]
    own = [words for words in commands if words[1] == "tools/predict.py"]
    assert own
    for words in own:
        predict(*words[2:])
        assert (workspace / words[words.index("--out") + 1] / "vis" / "000001.jpg").is_file()
    for words in commands:
        assert (REPO / words[1]).is_file()
