"""Wrong input ends with exit code 2 and one or two plain lines, before anything is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy
import pytest
from tools.running import CLASSES, CONFIG, REPO, assert_plain, environment, pretrained_config, run_tool, write_shapes

TRAIN_DATA = "train_dataloader.dataset"


@pytest.mark.parametrize(("tool", "files"), [("train.py", ["no.py"]), ("test.py", ["no.py", "no.pth"])])
def test_help_and_simple_errors_import_nothing_heavy(tool: str, files: list[str], tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n    print([name for name in ('torch', 'mmengine', 'mmdet', 'numpy') if name in sys.modules])\n"
    )
    for arguments, exit_code in ((["--help"], 0), (files, 2)):
        argv = f"import sys; sys.argv = {[str(REPO / 'tools' / tool), *arguments]!r}\n"
        command = [sys.executable, "-c", argv + code]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment())
        assert done.returncode == exit_code, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"
    assert f"error: config not found: {tmp_path / 'no.py'}" in done.stderr


def test_missing_config_and_checkpoint(fails, shapes, tmp_path: Path) -> None:
    fails("train", ["no/such.py"], f"config not found: {tmp_path / 'no/such.py'}")
    fails("train", [tmp_path], "config is a folder")
    fails("test", [shapes.config, "gone.pth"], f"checkpoint not found: {tmp_path / 'gone.pth'}")
    fails("train", [shapes.config, "--resume", "gone.pth"], f"resume from not found: {tmp_path / 'gone.pth'}")
    fails("test", [shapes.config, shapes.checkpoint, "--out", "out.json"], ".pkl or .pickle", "out.json")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model = dict(\n", "SyntaxError"),
        ('_base_ = "./nowhere.py"\n', "nowhere.py"),
        ('_base_ = "mmdet::retinanet/nowhere.py"\n', "nowhere.py"),
        ("model = undefined_name\n", "undefined_name"),
        ('data_root = "{{$GHM_TEST_UNSET:}}"\n', "GHM_TEST_UNSET"),
        ("x = 1\n", "defines no model, train_dataloader"),
    ],
)
def test_broken_config(fails, tmp_path: Path, text: str, expected: str) -> None:
    config = tmp_path / "broken.py"
    config.write_text(text)
    fails("train", [config], "config", str(config), expected)


@pytest.mark.parametrize("of_base", [False, True])
def test_a_pipe_for_a_config(of_base: bool, fails, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "config.py").write_text('_base_ = "pipe.py"\n')
    fails("train", [tmp_path / ("config.py" if of_base else "pipe.py")], "config is a pipe", str(tmp_path / "pipe.py"))


@pytest.mark.parametrize("option", ["lonely", "=3", "a..b=3", "a=[(1,2)", "model.backbone.depth.deeper=1"])
def test_broken_cfg_options(fails, shapes, option: str) -> None:
    fails("train", [shapes.config, "--cfg-options", option], "--cfg-options")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([f"{TRAIN_DATA}.data_root=gone/"], ["data root not found", "gone", f"{TRAIN_DATA}.data_root", "SHAPES_ROOT"]),
        ([f"{TRAIN_DATA}.ann_file=gone.json"], ["annotation file not found", "gone.json", ".ann_file=PATH"]),
        ([f"{TRAIN_DATA}.data_prefix.img=gone"], ["folder not found", "gone", f"{TRAIN_DATA}.data_prefix.img"]),
        ([f"{TRAIN_DATA}.data_prefix.img=./"], ["image not found", "0.png"]),
        (["val_evaluator.ann_file=gone.json"], ["annotation file not found", "gone.json", "val_evaluator.ann_file"]),
        (["model.bbox_head.loss_cls.type=ghm_mmdet.GHMD"], ["GHMD", "unknown type"]),
        (["model.bbox_head.loss_cls.binz=3"], ["model", "binz"]),
        (["model.bbox_head.loss_cls.bins=0"], ["model", "bins"]),
        (["default_hooks.logger.type=LogerHook"], ["unknown type 'LogerHook'", "default_hooks.logger"]),
        (["val_evaluator.type=CocoMetrik"], ["unknown type 'CocoMetrik'", "val_evaluator"]),
        (["optim_wrapper.optimizer.type=SDG"], ["unknown type 'SDG'", "optim_wrapper.optimizer"]),
        ([f"{TRAIN_DATA}.pipeline.0.type=LoadImage"], ["unknown type 'LoadImage'", TRAIN_DATA]),
        (["model.bbox_head.num_classes=4"], ["model.bbox_head.num_classes is 4", "3 classes", "disc"]),
        (
            [f"{TRAIN_DATA}.metainfo.classes=[a,b,c]"],
            ["none of the config's classes", "['a', 'b', 'c']", "['disc', 'square', 'bar']", "annotations.json"],
        ),
    ],
)
def test_config_that_does_not_fit(fails, shapes, options: list[str], expected: list[str]) -> None:
    fails("train", [shapes.config, "--cfg-options", *options], *expected)


def test_a_loss_that_hides_its_sigmoid(fails, shapes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """mmdet's heads look for use_sigmoid in the config, and give a loss that leaves it out one logit too many."""
    config = tmp_path_factory.mktemp("config") / "silent.py"
    loss = 'dict(_delete_=True, type="ghm_mmdet.GHMC")'
    config.write_text(f'_base_ = "{shapes.config}"\nmodel = dict(bbox_head=dict(loss_cls={loss}))\n')
    expected = "RetinaHead) has 4 logits for 3 classes", "--cfg-options model.bbox_head.loss_cls.use_sigmoid=True"
    fails("train", [config], *expected)
    fails("test", [config, shapes.checkpoint], *expected)


def test_data_root_of_the_environment(fails, shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAPES_ROOT", str(tmp_path / "elsewhere/"))
    fails("test", [shapes.config, shapes.checkpoint], "data root not found", str(tmp_path / "elsewhere"), "SHAPES_ROOT")


@pytest.mark.parametrize("cut", [0.5, "after a brace", "no COCO file", "binary"])
def test_broken_annotation_file(fails, shapes, tmp_path: Path, cut: float | str) -> None:
    text = (shapes.data / "annotations.json").read_text()
    broken = tmp_path / "broken.json"
    if cut == "no COCO file":
        broken.write_text('{"boxes": []}')
    elif cut == "binary":
        broken.write_bytes(bytes(range(256)))
    else:
        half = len(text) // 2
        broken.write_text(text[: text.index("}", half) + 1 if cut == "after a brace" else half])
    fails("train", [shapes.config, "--cfg-options", f"{TRAIN_DATA}.ann_file={broken}"], "annotation file", str(broken))


def test_wrapped_data_sets_are_looked_into(fails, shapes, tmp_path: Path) -> None:
    config = tmp_path / "wrapped.py"
    config.write_text(
        f'_base_ = "{shapes.config}"\n'
        f'inner = dict(type="CocoDataset", data_root="{shapes.data}/", ann_file="annotations.json",\n'
        '             data_prefix=dict(img="images/"), metainfo={{_base_.metainfo}}, pipeline=[])\n'
        "other = dict(inner, ann_file='gone.json')\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='MultiImageMixDataset', pipeline=[], dataset=dict(\n"
        "    type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[inner, other]))))\n"
    )
    place = f"{TRAIN_DATA}.dataset.dataset.datasets.1.ann_file"
    fails("train", [config], "annotation file not found", "gone.json", place)


@pytest.mark.parametrize("missing", ["list", "Annotations", "JPEGImages", "xml", None])
def test_voc_data(missing: str | None, shapes, tmp_path: Path) -> None:
    from ghm_mmdet.config import load_config
    from ghm_mmdet.data_check.preflight import check_data, enter_default_scope
    from ghm_mmdet.errors import UserError

    root = tmp_path / "VOCdevkit" / "VOC2007"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    files = {"list": root / "ImageSets/Main/train.txt", "xml": root / "Annotations/7.xml"}
    files["list"].write_text("7\n")
    files["xml"].write_text(
        "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax>\n"
        "<ymax>9</ymax></bndbox></object></annotation>"
    )
    cv2.imwrite(str(root / "JPEGImages/7.jpg"), numpy.zeros((9, 9, 3), numpy.uint8))
    gone = files.get(missing) or root / str(missing)
    if missing:
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    config = tmp_path / "voc.py"
    config.write_text(
        f'_base_ = "{shapes.config}"\n'
        f'train_dataloader = dict(dataset=dict(_delete_=True, type="VOCDataset", data_root="{tmp_path}/VOCdevkit/",\n'
        '    ann_file="VOC2007/ImageSets/Main/train.txt", data_prefix=dict(sub_data_root="VOC2007/"),\n'
        "    pipeline={{_base_.train_dataloader.dataset.pipeline}}))\n"
    )
    cfg = load_config(str(config), [], work_dir=None, launcher="none")
    enter_default_scope(cfg)
    if missing is None:
        assert len(check_data(cfg, ("train",)).classes[TRAIN_DATA]) == 20
        return
    with pytest.raises(UserError, match=f"not found: {gone}"):
        check_data(cfg, ("train",))


def test_auto_scale_lr_without_base_batch_size(fails, shapes) -> None:
    arguments = [shapes.config, "--auto-scale-lr", "--cfg-options", "auto_scale_lr=None"]
    fails("train", arguments, "auto_scale_lr", "base_batch_size", str(shapes.config))


def test_work_dir_that_cannot_be_written(fails, shapes, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file")
    for work_dir in (tmp_path / "occupied", tmp_path / "occupied" / "below", Path("/proc/ghm_mmdet")):
        fails("train", [shapes.config, "--work-dir", work_dir], "cannot write to the work_dir", str(work_dir))
    fails("test", [shapes.config, shapes.checkpoint, "--work-dir", tmp_path / "occupied"], "cannot write to the work")


def test_launcher_without_its_ranks(fails, shapes, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    fails("train", [shapes.config, "--launcher", "pytorch"], "RANK", "dist_train.sh")
    fails("test", [shapes.config, shapes.checkpoint, "--launcher", "slurm"], "SLURM_PROCID")


@pytest.mark.parametrize(
    ("name", "value", "launcher"),
    [
        ("RANK", "x", "none"),
        ("LOCAL_RANK", "abc", "none"),
        ("WORLD_SIZE", "0", "pytorch"),
        ("WORLD_SIZE", "two", "pytorch"),
        ("RANK", "2", "pytorch"),
        ("RANK", "-1", "pytorch"),
        ("MASTER_PORT", "70000", "pytorch"),
        ("MASTER_PORT", "a", "pytorch"),
    ],
)
def test_ranks_of_the_environment(name: str, value: str, launcher: str, fails, shapes, monkeypatch) -> None:
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29999"}
    for key, number in (ranks if launcher == "pytorch" else {}).items():
        monkeypatch.setenv(key, number)
    monkeypatch.setenv(name, value)
    fails("train", [shapes.config, "--launcher", launcher], f"the environment variable {name} is {value!r}")


@pytest.mark.parametrize("weights", ["torchvision://resnet18", "http://127.0.0.1:9/none.pth", "gone.pth"])
def test_pretrained_weights_out_of_reach(
    fails, shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path.parent / f"{tmp_path.name}_torch_home"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    fails(
        "train",
        [pretrained_config(shapes, tmp_path, weights)],
        weights,
        "model.backbone.init_cfg",
        "--cfg-options model.backbone.init_cfg=None",
    )


def test_image_that_is_missing_or_broken(fails, tmp_path: Path) -> None:
    """One that is missing is found before the training, one that is broken comes up in a DataLoader worker."""
    from mmdet.registry import TRANSFORMS

    from ghm_mmdet.errors import explain

    write_shapes(tmp_path / "data", images=4)
    config = tmp_path / "config.py"
    config.write_text(CONFIG.format(data=tmp_path / "data"))
    image = tmp_path / "data" / "images" / "3.png"
    image.write_bytes(b"no image")
    with pytest.raises(Exception, match="image") as broken:
        TRANSFORMS.build({"type": "LoadImageFromFile"})({"img_path": str(image)})
    assert explain(broken.value).startswith(f"cannot decode the image {image}\n")

    done = run_tool("train.py", config, "--cfg-options", "train_dataloader.num_workers=1", cwd=tmp_path)
    assert_plain(done.returncode, done.stderr, f"cannot decode the image {image}")
    image.unlink()
    fails("train", [config, "--work-dir", "run"], "image not found", str(image))


def test_mmcv_without_ops_and_wrong_versions(shapes, tmp_path: Path) -> None:
    (tmp_path / "lite" / "mmcv").mkdir(parents=True)
    (tmp_path / "lite" / "mmcv" / "__init__.py").write_text("")
    done = run_tool("train.py", shapes.config, cwd=tmp_path, PYTHONPATH=str(tmp_path / "lite"))
    assert_plain(done.returncode, done.stderr, "mmcv has no compiled ops", "mmcv._ext", "MMCV_WITH_OPS=1")

    information = tmp_path / "old" / "mmdet-2.28.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: mmdet\nVersion: 2.28.0\n")
    done = run_tool("test.py", shapes.config, shapes.checkpoint, cwd=tmp_path, PYTHONPATH=str(tmp_path / "old"))
    assert_plain(done.returncode, done.stderr, "mmdet 2.28.0 is installed", ">=3.3.0,<4.0.0 is needed")


@pytest.mark.parametrize("name", ["torch", "mmengine", "mmcv", "mmdet"])
def test_stack_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ghm_mmdet.cli import environment
    from ghm_mmdet.errors import UserError

    real = environment.find_spec
    monkeypatch.setattr(environment, "find_spec", lambda asked: None if asked == name else real(asked))
    with pytest.raises(UserError, match=f"^{name} is not installed"):
        environment.check_stack()


def test_a_bug_keeps_its_traceback() -> None:
    from ghm_mmdet.errors import plain_errors

    with pytest.raises(ZeroDivisionError), plain_errors():
        _ = 1 / 0


def test_large_annotation_files_are_not_read_twice(shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ghm_mmdet.config import load_config
    from ghm_mmdet.data_check import preflight
    from ghm_mmdet.errors import UserError

    monkeypatch.setattr(preflight, "LARGEST_PARSED_ANNOTATION", 500)
    whole = (shapes.data / "annotations.json").read_text()
    file = tmp_path / "large.json"
    cfg = load_config(str(shapes.config), [f"{TRAIN_DATA}.ann_file={file}"], work_dir=None, launcher="none")
    preflight.enter_default_scope(cfg)
    # Nobody looks at what stands before the end.
    file.write_text(f"nonsense {whole}\n")
    assert preflight.check_data(cfg, ("train",)).classes == {TRAIN_DATA: CLASSES}
    file.write_text(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"cut off: {file}"):
        preflight.check_data(cfg, ("train",))
