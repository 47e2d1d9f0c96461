"""Keys of train_cfg, test_cfg, filter_cfg and metainfo: looked up by name, so that nobody misses a misspelt one."""

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
    looked_up = _looked_up(*map(type, model.modules()))
    for place, entry in _entries(model_cfg):
        for key, value in entry.items():
            hint = "" if key in looked_up else nearest(key, looked_up, cutoff=0.75)
            if hint:
                raise UserError(f"nothing reads {place}.{key}\n{hint}")
            if key == "nms" and isinstance(value, dict) and isinstance(value.get("type"), str):
                _check_nms(f"{place}.nms", value)


def check_data_set_keys(place: str, entry: dict, data_set: Any) -> None:
    """As :func:`check_model_keys`, for filter_cfg and metainfo of a data set."""
    looked_up = _looked_up(type(data_set)) if entry.get("filter_cfg") else set()
    for key in looked_up and dict(entry["filter_cfg"]):
        hint = "" if key in looked_up else nearest(key, looked_up, cutoff=0.75)
        if hint:
            raise UserError(f"nothing reads {place}.filter_cfg.{key}\n{hint}")
    metainfo = entry.get("metainfo") or {}
    for key in metainfo if "classes" not in metainfo else ():
        # mmdet 2 had CLASSES.
        if hint := nearest(key.lower(), {"classes"}):
            raise UserError(f"nothing reads {place}.metainfo.{key}\n{hint}")


def _looked_up(*classes: type) -> set[str]:
    files = {cls.__module__ for own in classes for cls in own.__mro__}
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
