"""Checkpoints are untrusted input: no code of theirs runs, and one that does not fit is an error."""

from __future__ import annotations

import argparse
import ast
import copy
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from tools.running import REPO, assert_plain, call_tool, pretrained_config, run_tool

from ghm_mmdet.__main__ import COMMANDS, make_parser
from ghm_mmdet.checkpoint.resuming import checkpoint_files, newest_whole_checkpoint, say_whose_schedule
from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints, check_resumable, read_checkpoint
from ghm_mmdet.cli.config_parts import build_optimizer, check_schedulers
from ghm_mmdet.config import load_config
from ghm_mmdet.data_check.preflight import enter_default_scope
from ghm_mmdet.errors import IncompleteCheckpointError, RefusedCheckpointError


class Call:
    """Pickles as the call of a function, whose parts may be calls again."""

    def __init__(self, function: Callable, *arguments: object, state: object = None) -> None:
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self) -> tuple:
        return (self.function, self.arguments) if self.state is None else (self.function, self.arguments, self.state)

    def __call__(self) -> None:
        """Only there because pickle asks for something callable."""


def run_by_os(marker: Path) -> Call:
    import os

    return Call(os.system, f"touch {marker}")


def run_by_getattr(marker: Path) -> Call:
    """From an allowed class to exec, if the real getattr were allowed."""
    builtins = Call(getattr, Call(getattr, HistoryBuffer, "__init__"), "__builtins__")
    execute = Call(Call(getattr, builtins, "get"), "exec")
    return Call(execute, f"open({str(marker)!r}, 'w').close()")


def run_by_eval(marker: Path) -> Call:
    return Call(eval, f"open({str(marker)!r}, 'w').close()")


ATTACKS = [run_by_os, run_by_getattr, run_by_eval]


def save(path: Path, **entries: object) -> Path:
    torch.save({"state_dict": {}, "meta": {"epoch": 1, "iter": 4}, "message_hub": {}, "optimizer": {}} | entries, path)
    return path


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_attacks_are_real(attack: Callable, tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(attack(tmp_path / "marker"), protocol=2))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_everywhere(attack: Callable, zipped: bool, fails, shapes, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    bad = tmp_path / "bad.pth"
    torch.save({"state_dict": {}, "meta": attack(marker)}, bad, _use_new_zipfile_serialization=zipped)
    run = tmp_path / "run"
    run.mkdir()
    (run / "epoch_1.pth").write_bytes(bad.read_bytes())
    expected = ("checkpoint refused", "None of its code ran", str(bad))
    fails("test", [shapes.config, bad], *expected)
    fails("train", [shapes.config, "--resume", bad], *expected)
    fails("train", [shapes.config, "--cfg-options", f"load_from={bad}"], *expected)
    fails("train", [shapes.config, "--work-dir", run, "--resume"], "checkpoint refused", "epoch_1.pth")
    fails("train", [pretrained_config(shapes, tmp_path, bad)], *expected)
    assert not marker.exists()


def test_the_environment_cannot_switch_it_off(fails, shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    bad = save(tmp_path / "bad.pth", meta=run_by_os(marker))
    done = run_tool("test.py", shapes.config, bad, cwd=tmp_path, TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1")
    assert_plain(done.returncode, done.stderr, "checkpoint refused", "posix.system")
    assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is ignored" in done.stderr
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    fails("train", [shapes.config, "--resume", bad], "checkpoint refused", "posix.system")
    assert not marker.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pth"]


def test_loading_by_the_stack_below_is_weights_only_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.hub asks for weights_only=False when mmengine loads from an address."""
    from ghm_mmdet.checkpoint.safe_loading import force_weights_only

    marker = tmp_path / "marker"
    bad = save(tmp_path / "bad.pth", meta=run_by_os(marker))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    force_weights_only()
    with pytest.raises(pickle.UnpicklingError):
        torch.hub.load_state_dict_from_url(bad.as_uri(), model_dir=str(tmp_path / "hub"), weights_only=False)
    assert not marker.exists()


def test_python_text_that_resuming_would_execute(fails, shapes, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    whole = torch.load(shapes.checkpoint, weights_only=False)
    whole["meta"]["config"] = f"open({str(marker)!r}, 'w').close()"
    torch.save(whole, tmp_path / "bad.pth")
    fails("train", [shapes.config, "--resume", tmp_path / "bad.pth"], "checkpoint refused", "meta['config']")
    assert not marker.exists()


def test_numpy_flags_from_the_file_are_not_believed(tmp_path: Path) -> None:
    """numpy would take these bytes for pointers to Python objects."""
    reconstruct, empty = numpy.zeros(1).__reduce__()[:2]
    pointers = Call(numpy.dtype, "f8", False, True, state=(3, "<", None, None, None, -1, -1, 63))
    forged = numpy.dtype("f8", False, True)
    forged.__setstate__((3, "<", None, None, None, -1, -1, 63))
    assert forged.hasobject
    array = Call(reconstruct, *empty, state=(1, (2,), pointers, False, numpy.arange(2.0).tobytes()))
    allow_mmengine_checkpoints()
    loaded = read_checkpoint(str(save(tmp_path / "a.pth", meta=array)))["meta"]
    assert not loaded.dtype.hasobject
    assert loaded.tolist() == [0.0, 1.0]
    for name in ("O", "V8", "U4"):
        other = Call(reconstruct, *empty, state=(1, (2,), Call(numpy.dtype, name, False, True), False, bytes(16)))
        with pytest.raises(RefusedCheckpointError, match="dtype"):
            read_checkpoint(str(save(tmp_path / "b.pth", meta=other)))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "i4", "bool", "complex64", "uint8"])
def test_plain_numpy_survives(dtype: str, order: str, tmp_path: Path) -> None:
    array = numpy.asarray(numpy.arange(6).reshape(2, 3) % 3, dtype=dtype, order=order)
    allow_mmengine_checkpoints()
    history = HistoryBuffer([1.5, 2.5], [1, 1])
    path = save(tmp_path / "a.pth", meta={"array": array, "scalar": array.reshape(-1)[4]}, message_hub={"h": history})
    for _ in range(2):
        loaded = read_checkpoint(str(path))
        assert loaded["meta"]["array"].dtype == pickle.loads(pickle.dumps(array, protocol=2)).dtype
        assert numpy.array_equal(loaded["meta"]["array"], array)
        assert loaded["meta"]["scalar"] == array.reshape(-1)[4]
        assert loaded["message_hub"]["h"].mean() == 2.0
        torch.save(loaded, path)


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "list", "folder"])
def test_files_that_are_no_checkpoint(kind: str, fails, shapes, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pth"
    whole = shapes.checkpoint.read_bytes()
    if kind == "folder":
        bad.mkdir()
    elif kind == "list":
        torch.save([1, 2], bad)
    else:
        notes = b"hello, these are my notes\n" * 99
        bad.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": notes}[kind])
    fails("test", [shapes.config, bad], "checkpoint", str(bad))
    fails("train", [shapes.config, "--resume", bad], "checkpoint", str(bad))
    fails("train", [shapes.config, "--cfg-options", f"load_from={bad}"], "checkpoint", str(bad))


def test_every_cut_of_a_checkpoint_is_torn(shapes, tmp_path: Path) -> None:
    whole = shapes.checkpoint.read_bytes()
    allow_mmengine_checkpoints()
    for part in range(1, 20):
        (tmp_path / "cut.pth").write_bytes(whole[: len(whole) * part // 20])
        with pytest.raises(IncompleteCheckpointError, match=r"cut\.pth"):
            read_checkpoint(str(tmp_path / "cut.pth"))
    assert "state_dict" in read_checkpoint(str(shapes.checkpoint))


def test_flipped_bits_are_found(fails, shapes, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """In the middle of a tensor, in the last one, and in the pickle: a zip file has a checksum of each."""
    whole = shapes.checkpoint.read_bytes()
    with zipfile.ZipFile(shapes.checkpoint) as file:
        entries = [entry for entry in file.infolist() if "/data/" in entry.filename and entry.file_size > 1000]
    run = tmp_path / "run"
    run.mkdir()
    for entry in (entries[0], entries[len(entries) // 2], entries[-1]):
        flipped = bytearray(whole)
        flipped[whole.index(entry.filename.encode(), entry.header_offset) + len(entry.filename) + 500] ^= 0x40
        bad = tmp_path / "bad.pth"
        bad.write_bytes(flipped)
        fails("test", [shapes.config, bad], "the checkpoint is damaged", str(bad))
        fails("train", [shapes.config, "--resume", bad], "the checkpoint is damaged", str(bad))
    (run / "epoch_1.pth").write_bytes((shapes.run / "epoch_1.pth").read_bytes())
    (run / "epoch_2.pth").write_bytes(flipped)
    (run / "last_checkpoint").write_text(str(run / "epoch_2.pth"))
    found = newest_whole_checkpoint(Config({"work_dir": str(run)}))
    assert found[0] == str(run / "epoch_1.pth")
    assert "not whole: epoch_2.pth" in capsys.readouterr().err


def test_weights_that_are_no_numbers(fails, shapes, tmp_path: Path) -> None:
    for number, value in enumerate((float("nan"), float("inf"), -float("inf"))):
        whole = torch.load(shapes.checkpoint, weights_only=False)
        whole["state_dict"]["bbox_head.retina_reg.bias"][number] = value
        torch.save(whole, tmp_path / "bad.pth")
        fails("test", [shapes.config, tmp_path / "bad.pth"], "bbox_head.retina_reg.bias is not finite", "bad.pth")
    fails("train", [shapes.config, "--resume", tmp_path / "bad.pth"], "is not finite", "bad.pth")


def _with_optimizer(whole: dict, lr: float | None = None, momentum: float | None = None) -> dict:
    changed = copy.deepcopy(whole)
    for group in changed["optimizer"]["param_groups"]:
        group["lr"] = group["lr"] if lr is None else lr
    for state in changed["optimizer"]["state"].values():
        if momentum is not None:
            state["momentum_buffer"].fill_(momentum)
    return changed


def odd_checkpoints(whole: dict) -> dict[str, tuple[dict, str]]:
    """By what is odd in them, and what is said about it."""
    hub, meta = whole["message_hub"], whole["meta"]
    return {
        "state_dict is a list": (whole | {"state_dict": [1]}, "state_dict"),
        "state_dict is a tensor": (whole | {"state_dict": torch.zeros(3)}, "state_dict"),
        "integer keys": (whole | {"state_dict": dict(enumerate(whole["state_dict"].values()))}, "by their names"),
        "message_hub is a list": (whole | {"message_hub": []}, "message_hub"),
        "message_hub has no keys": (whole | {"message_hub": {}}, "message_hub"),
        "log_scalars is a list": (whole | {"message_hub": hub | {"log_scalars": [1]}}, "message_hub"),
        "runtime_info is text": (whole | {"message_hub": hub | {"runtime_info": "x"}}, "message_hub"),
        "optimizer is a list": (whole | {"optimizer": []}, "optimizer"),
        "optimizer is empty": (whole | {"optimizer": {}}, "the optimizer of"),
        "groups are numbers": (whole | {"optimizer": {"state": {}, "param_groups": [1]}}, "the optimizer of"),
        "meta is a list": (whole | {"meta": []}, "meta.epoch"),
        "epoch is text": (whole | {"meta": meta | {"epoch": "1"}}, "meta.epoch"),
        "seed is text": (whole | {"meta": meta | {"seed": "x"}}, "meta.seed"),
        "an epoch below 0": (whole | {"meta": meta | {"epoch": -3}}, "meta.epoch"),
        "schedulers are numbers": (whole | {"param_schedulers": [1]}, "param_schedulers"),
        "schedulers of another kind": (whole | {"param_schedulers": {"optim": [{}]}}, "param_schedulers"),
        "lr is nan": (_with_optimizer(whole, lr=float("nan")), "its lr is no finite number"),
        "momentum is nan": (_with_optimizer(whole, momentum=float("nan")), "a momentum_buffer is not finite"),
        "param_schedulers is a number": (whole | {"param_schedulers": 3}, "param_schedulers"),
    }


def test_odd_checkpoints_are_not_resumed(fails, shapes, tmp_path: Path) -> None:
    whole = torch.load(shapes.run / "epoch_1.pth", weights_only=False)
    for odd, expected in odd_checkpoints(whole).values():
        torch.save(odd, tmp_path / "odd.pth")
        fails("train", [shapes.config, "--resume", tmp_path / "odd.pth"], str(tmp_path / "odd.pth"), expected)


@pytest.mark.parametrize("of_epochs", [True, False])
def test_a_training_that_counts_otherwise_is_not_resumed(of_epochs, fails, shapes, tmp_path: Path) -> None:
    checkpoint, config = shapes.run / "epoch_1.pth", shapes.config
    by_iterations = '_base_ = "{}"\ntrain_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=50)\n'
    if of_epochs:
        config = tmp_path / "by_iterations.py"
        config.write_text(by_iterations.format(shapes.config))
        expected = "counts epochs, and train_cfg has max_iters"
    else:
        content = torch.load(checkpoint, weights_only=False)
        content["meta"]["cfg"] = (
            "lr = 3\ntrain_cfg = dict(\n    max_iters=4, type='IterBasedTrainLoop')\nmax_epochs = 3\n"
        )
        checkpoint = tmp_path / "iter_4.pth"
        torch.save(content, checkpoint)
        expected = "counts iters, and train_cfg has max_epochs"
    fails("train", [config, "--resume", checkpoint], str(checkpoint), expected, "load_from=PATH")


@pytest.mark.parametrize(
    "change",
    [
        'optimizer=dict(_delete_=True, type="AdamW", lr=1e-4)',
        'optimizer=dict(_delete_=True, type="RMSprop", lr=1e-4)',
        "paramwise_cfg=dict(norm_decay_mult=0.0)",
        "paramwise_cfg=dict(bias_lr_mult=2.0, bias_decay_mult=0.0)",
    ],
)
def test_another_optimizer_is_not_resumed(change: str, fails, shapes, tmp_path: Path) -> None:
    config = tmp_path / "other.py"
    config.write_text(f'_base_ = "{shapes.config}"\noptim_wrapper = dict({change})\n')
    expected = ("does not fit the one that optim_wrapper describes", "epoch_1.pth", "load_from=PATH")
    fails("train", [config, "--resume", shapes.run / "epoch_1.pth"], *expected)


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (
            'dict(_delete_=True, type="ConstantLR", factor=0.5, by_epoch=True)',
            "param_scheduler.0 is another than the checkpoint's: factor.",
        ),
        (
            'dict(_delete_=True, type="CosineAnnealingLR", T_max=9)',
            "param_scheduler.0 is another than the checkpoint's: T_max.",
        ),
        (
            '[dict(type="ConstantLR", factor=1.0), dict(type="MultiStepLR", milestones=[8])]',
            "has 2 schedulers, the checkpoint 1",
        ),
        ('dict(_delete_=True, type="ConstantLR", factor=1.0, by_epoch=True)', None),
    ],
)
def test_another_schedule_is_said(described, said, shapes, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = tmp_path / "other.py"
    config.write_text(f'_base_ = "{shapes.config}"\nparam_scheduler = {described}\n')
    cfg = load_config(str(config), [], work_dir=None, launcher="none")
    enter_default_scope(cfg)
    schedulers = check_schedulers(cfg, build_optimizer(cfg, torch.nn.Linear(2, 2)))
    say_whose_schedule(schedulers, torch.load(shapes.run / "epoch_1.pth", weights_only=False))
    output = capsys.readouterr().err
    assert said in output if said else not output


@pytest.mark.parametrize("newer", ["dangling", "loop", "folder", "note"])
def test_what_is_no_file_does_not_stop_a_resume(newer, shapes, tmp_path: Path) -> None:
    work_dir = tmp_path / "run"
    work_dir.mkdir()
    shutil.copy(shapes.run / "epoch_1.pth", work_dir)
    odd = work_dir / "epoch_2.pth"
    if newer == "note":
        (work_dir / "last_checkpoint").write_bytes(b"\xff\xfe")
    elif newer == "folder":
        odd.mkdir()
    else:
        odd.symlink_to({"dangling": "gone", "loop": "epoch_2.pth"}[newer])
    cfg = load_config(str(shapes.config), [], work_dir=str(work_dir), launcher="none")
    assert [file.name for file in checkpoint_files(cfg)[1]] == ["epoch_1.pth"]


def test_a_training_without_an_iteration_does_not_start(fails, shapes) -> None:
    first, last = shapes.run / "epoch_1.pth", shapes.checkpoint
    for arguments, *expected in (
        (["--resume", last], "no iteration to train", str(last), "is at epoch 2", "max_epochs is 2"),
        (["--work-dir", shapes.run, "--resume"], "no iteration to train", str(last)),
        (["--resume", first, "--cfg-options", "train_cfg.max_epochs=1"], "is at epoch 1", "max_epochs is 1"),
        (["--cfg-options", "train_cfg.max_epochs=0"], "no iteration to train", "max_epochs is 0"),
        (["--cfg-options", "train_cfg.max_epochs=1.5"], "no iteration to train", "max_epochs is 1.5"),
        (["--cfg-options", "train_cfg.val_interval=0"], "val_interval is 0"),
    ):
        fails("train", [shapes.config, *arguments], *expected)


def test_other_classes_name_the_flag(fails, shapes, tmp_path: Path) -> None:
    weights = torch.load(shapes.checkpoint, weights_only=False)["state_dict"]
    weights["bbox_head.retina_cls.weight"] = torch.zeros(9, 16, 3, 3)
    torch.save({"state_dict": weights}, tmp_path / "other.pth")
    arguments = [shapes.config, "--cfg-options", f"load_from={tmp_path / 'other.pth'}"]
    fails("train", arguments, "does not fit the model", "--allow-partial-load")


def test_checkpoint_that_does_not_fit(fails, shapes, tmp_path: Path) -> None:
    weights = torch.load(shapes.checkpoint, weights_only=False)["state_dict"]
    other_classes = dict(weights)
    other_classes["bbox_head.retina_cls.weight"] = torch.zeros(9, 16, 3, 3)
    headless = {name: value for name, value in weights.items() if not name.startswith("bbox_head.")}
    foreign = {"encoder.weight": torch.zeros(3)}
    for name, content, expected in (
        ("classes", other_classes, ["bbox_head.retina_cls.weight is (9, 16, 3, 3)", "(27, 16, 3, 3)"]),
        ("headless", headless, ["missing bbox_head."]),
        ("foreign", foreign, ["has no weight of this model"]),
    ):
        path = tmp_path / f"{name}.pth"
        torch.save({"state_dict": content}, path)
        fails("test", [shapes.config, path], str(path), *expected)
        fails("train", [shapes.config, "--cfg-options", f"load_from={path}"], str(path), *expected)


def test_loss_buffers_do_not_count_and_partial_load_is_said(shapes, capsys: pytest.CaptureFixture) -> None:
    from mmdet.registry import MODELS

    from ghm_mmdet.checkpoint.safe_loading import load_weights
    from ghm_mmdet.config import load_config
    from ghm_mmdet.data_check.preflight import enter_default_scope

    cfg = load_config(str(shapes.config), [], work_dir=None, launcher="none")
    enter_default_scope(cfg)
    model = MODELS.build(cfg.model)
    allow_mmengine_checkpoints()
    weights = read_checkpoint(str(shapes.checkpoint))["state_dict"]
    assert "bbox_head.loss_cls.acc_sum" in weights
    without = {f"module.{name}": value for name, value in weights.items() if ".loss_" not in name}
    load_weights(model, {"state_dict": without}, "p")
    load_weights(model, without, "p")
    load_weights(model, weights | {"bbox_head.loss_cls.acc_sum": torch.zeros(10)}, "p")
    assert capsys.readouterr().err == ""
    headless = {name: value for name, value in weights.items() if not name.startswith("bbox_head.retina")}
    load_weights(model, headless, "p", partial=True)
    said = capsys.readouterr().err
    assert "fills a part of the model" in said
    assert "bbox_head.retina_cls.bias" in said


def test_weights_alone_cannot_be_resumed(fails, shapes, tmp_path: Path) -> None:
    whole = torch.load(shapes.checkpoint, weights_only=False)
    torch.save({"state_dict": whole["state_dict"], "meta": {}}, tmp_path / "weights.pth")
    arguments = [shapes.config, "--resume", tmp_path / "weights.pth"]
    fails("train", arguments, "nothing to resume in", "optimizer", "load_from=PATH")
    with pytest.raises(RefusedCheckpointError):
        check_resumable(whole | {"meta": {"config": ""}}, "p")


def test_old_model_zoo_files_load(shapes, tmp_path: Path) -> None:
    weights = torch.load(shapes.checkpoint, weights_only=False)["state_dict"]
    meta = {"mmdet_version": "2.3.0", "CLASSES": ("a", "b"), "config": "x = 1", "epoch": 12, "time": "now"}
    old = {"state_dict": weights, "meta": meta | {"PALETTE": [(1, 2, 3)], "lr": numpy.float64(0.01)}}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    allow_mmengine_checkpoints()
    loaded = read_checkpoint(str(tmp_path / "old.pth"))
    assert loaded["meta"] == old["meta"]
    assert all(torch.equal(loaded["state_dict"][name], value) for name, value in weights.items())


def command_lines(parser: argparse.ArgumentParser, config: Path, image: Path, bad: Path) -> list[list[str]]:
    """One command line for each argument that takes a checkpoint, the arguments that must be there filled in."""
    given: list[str] = []
    positional_takes, options = False, []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [
                [name, *line]
                for name, inner in action.choices.items()
                for line in command_lines(inner, config, image, bad)
            ]
        takes = "checkpoint" in f"{action.dest} {action.metavar} {action.help}".lower() and action.nargs != 0
        if not action.option_strings:
            data = image.parents[1] if action.metavar == "DATA" else image
            given.append(str(bad if takes else config if action.dest.startswith("config") else data))
            positional_takes |= takes
        elif takes:
            options.append([action.option_strings[-1], str(bad)])
        elif action.required:
            given += [action.option_strings[-1], str(config if "config" in action.dest else image)]
    return [given] * positional_takes + [[*given, *option] for option in options]


@pytest.mark.parametrize("tool", COMMANDS)
def test_every_command_that_takes_a_checkpoint_refuses_code(
    tool: str, shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Found by what their parsers say, so that no new tool or option is forgotten."""
    marker = tmp_path / "marker"
    bad = save(tmp_path / "bad.pth", meta=run_by_os(marker))
    monkeypatch.chdir(tmp_path)
    lines = command_lines(make_parser(tool), shapes.config, shapes.data / "images" / "0.png", bad)
    assert lines or tool not in ("train", "test", "gradients")
    for line in lines:
        with pytest.raises(SystemExit) as stop:
            call_tool(tool, line)
        assert_plain(stop.value.code, capsys.readouterr().err, "checkpoint refused", str(bad))
    assert not marker.exists()


# What reads pickles, and where it may stand: behind force_weights_only, or on a file that the tool itself has written.
READERS = {"load_checkpoint", "load_from_local", "init_detector", "DetInferencer", "load_state_dict_from_url"}
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib"}


def test_no_way_around_weights_only() -> None:
    """In no tool or module is there a torch.load without weights_only=True, or another reader of pickles."""
    checked = 0
    for path in (*(REPO / "tools").rglob("*.py"), *(REPO / "ghm_mmdet").rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            place = f"{path}, line {node.lineno}: {name}"
            if name == "torch.load":
                assert "weights_only=True" in ast.unparse(node), place
                checked += 1
            owner, _, method = name.rpartition(".")
            assert not (owner in UNPICKLERS and method in ("load", "loads", "Unpickler")), place
            if method in READERS:
                assert "force_weights_only" in text, place
    assert checked
