"""Keys of model.train_cfg and model.test_cfg: heads look them up by name, and nobody misses one that is misspelt."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

import mmcv.ops
from torch import nn

from ghm_mmdet.errors import UserError, nearest

# How code looks a key up: cfg["key"], cfg.get("key", ...), cfg.key, self.test_cfg.key.
LOOKED_UP = re.compile(r"""['"](\w+)['"]|cfg\.(\w+)""")
# Of a proposal head, of the heads on its proposals.
INNER = ("rpn", "rcnn", "rpn_proposal")
# batched_nms takes them out before it calls the function that `type` names.
NMS = {"type", "class_agnostic", "split_thr"}


def check_model_keys(model_cfg: dict, model: nn.Module) -> None:
    """Raises UserError for a key that no module of the model looks up and that is spelt almost like one that is.

    Args:
        model_cfg: the entry model of the config.
        model: built from it.
    """
    looked_up = _looked_up(model)
    for place, entry in _entries(model_cfg):
        for key, value in entry.items():
            hint = "" if key in looked_up else nearest(key, looked_up, cutoff=0.75)
            if hint:
                raise UserError(f"nothing reads {place}.{key}\n{hint}")
            if key == "nms" and isinstance(value, dict) and isinstance(value.get("type"), str):
                _check_nms(f"{place}.nms", value)


def _looked_up(model: nn.Module) -> set[str]:
    files = {cls.__module__ for module in model.modules() for cls in type(module).__mro__}
    sources = [inspect.getsource(sys.modules[name]) for name in files if not name.startswith(("torch", "builtins"))]
    return {quoted or attribute for source in sources for quoted, attribute in LOOKED_UP.findall(source)}


def _entries(model_cfg: dict) -> Iterator[tuple[str, dict]]:
    for part in ("train_cfg", "test_cfg"):
        above = model_cfg.get(part)
        for place, entry in (
            (f"model.{part}", above),
            *((f"model.{part}.{key}", (above or {}).get(key)) for key in INNER),
        ):
            # Of a cascade there is one for each stage.
            for index, one in enumerate(entry) if isinstance(entry, (list, tuple)) else [("", entry)]:
                if isinstance(one, dict):
                    yield f"{place}.{index}".rstrip("."), one


def _check_nms(place: str, entry: dict[str, Any]) -> None:
    function = getattr(mmcv.ops, entry["type"], None)
    if function is None:
        raise UserError(f"unknown type {entry['type']!r} at {place}.type: mmcv.ops has no such function")
    known = NMS | set(inspect.signature(function).parameters) - {"boxes", "scores", "dets"}
    unknown = next((key for key in entry if key not in known), None)
    if unknown is not None:
        raise UserError(f"unknown argument {unknown!r} at {place}\n{nearest(unknown, known)}")
