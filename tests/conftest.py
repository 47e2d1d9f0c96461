"""Where tests run and find real data: COCO_ROOT and VOC_ROOT, or the folder `shared/data` beside the checkout."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

REPO = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the numerical tests run: cpu, cuda, cuda:1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that at the end no worker has a long one for itself."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    # Tests of the mathematics run without mmengine too.
    if importlib.util.find_spec("mmengine"):
        import quick_mmengine

        quick_mmengine.make_quick()
    if "mmdet" in sys.modules:
        # The first optimizer imports it.
        importlib.import_module("torch._dynamo")
    # A collection of garbage, which each of mmengine's data sets begins, passes a million objects of modules over.
    gc.freeze()


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("device"))


@pytest.fixture(params=[torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture(scope="module")
def on_device(device: torch.device) -> Iterator[None]:
    """Has torch make all tensors on the device of --device."""
    if device.type == "cpu":
        yield
        return
    torch.use_deterministic_algorithms(True, warn_only=True)
    with device:
        yield
    torch.use_deterministic_algorithms(False)


def _data_root(variable: str, name: str, marker: str) -> Path:
    root = Path(os.environ.get(variable) or REPO.parent / "shared" / "data" / name)
    if not (root / marker).is_dir():
        pytest.skip(f"real data absent: set {variable} to a folder that holds {marker} (looked in {root})")
    return root


@pytest.fixture(autouse=True)
def own_logger() -> Iterator[None]:
    """mmengine's loggers keep the stdout of the test that first logs, which is closed after that test."""
    yield
    # Tests of the mathematics run without mmengine too.
    if "mmengine.logging" not in sys.modules:
        return
    from mmengine.logging import MMLogger

    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    MMLogger._instance_dict.clear()


@pytest.fixture(scope="session")
def tiny_coco_root() -> Path:
    return _data_root("COCO_ROOT", "tiny_coco", "annotations")


@pytest.fixture(scope="session")
def bccd_root() -> Path:
    return _data_root("VOC_ROOT", "bccd", "Annotations")


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of digits with the sizes of tools/make_digits.py and few scenes, for DIGITS_ROOT."""
    from ghm_mmdet.digits.folder import DigitsFolder
    from ghm_mmdet.digits.scenes import SceneOptions

    root = tmp_path_factory.mktemp("digits") / "digits"
    folder = DigitsFolder(root, "coco", {"train": 32, "val": 4, "test": 8}, SceneOptions())
    folder.make(1, lambda split: None)
    return root
