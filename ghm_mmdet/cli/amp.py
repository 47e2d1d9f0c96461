"""Mixed precision on a machine without a GPU.

torch 2.12's bfloat16 convolution on the CPU reads uninitialised memory in the weight gradient of a 3x3 convolution with
stride 2 over a map of one pixel (seen as NaN in an FPN's P7 on 64-pixel images): keep the coarsest level above that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from ghm_mmdet.errors import print_notice


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast on the CPU.

    mmengine's AmpOptimWrapper asserts a GPU because of its loss scaling; bfloat16 has float32's range and needs none.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast("cpu", dtype=torch.bfloat16):
            yield


def set_amp_optim_wrapper(cfg: Config, *, amp: bool) -> None:
    """Sets the optimizer wrapper for `--amp`, or for a config that asks for AMP, to one that this device has."""
    wrapper = cfg.optim_wrapper
    if amp:
        wrapper.type = "AmpOptimWrapper"
        wrapper.setdefault("loss_scale", "dynamic")
    if wrapper.get("type") == "AmpOptimWrapper" and get_device() == "cpu":
        wrapper.type = "CPUAmpOptimWrapper"
        wrapper.pop("loss_scale", None)
        wrapper.pop("dtype", None)
        # The dumped config must find this module on its own.
        imports = cfg.get("custom_imports") or {}
        modules = imports.get("imports") or []
        modules = [modules] if isinstance(modules, str) else list(modules)
        cfg.custom_imports = {**imports, "imports": [*modules, __name__]}
        print_notice("amp: no GPU here, so the forward pass runs in bfloat16 on the CPU, without loss scaling.")
