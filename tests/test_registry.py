"""Configs reach our classes by their scope, and mmdet's classes stay mmdet's; each case in a fresh process."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("name", ["GHMC", "GHMR"])
def test_both_classes_live_side_by_side(name):
    code = f"""
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
register_all_modules()
before = type(MODELS.build(dict(type="{name}")))
ours = type(MODELS.build(dict(type="ghm_mmdet.{name}")))
after = type(MODELS.build(dict(type="{name}")))
assert before is after
print(before.__module__, ours.__module__)
"""
    assert run(code).split() == [
        "mmdet.models.losses.ghm_loss",
        f"ghm_mmdet.losses.{name.lower()[:3]}_{name[-1].lower()}",
    ]


def test_functional_needs_torch_alone():
    code = """
import sys
for name in ("mmcv", "mmengine", "mmdet", "numpy", "torchvision", "cv2"):
    sys.modules[name] = None
import torch
from ghm_mmdet.functional import ghm_c_loss
print(ghm_c_loss(torch.zeros(2, 3), torch.tensor([0, 3])).item())
"""
    assert float(run(code)) == pytest.approx(0.693147, rel=1e-5)
