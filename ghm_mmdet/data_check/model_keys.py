"""Keys of train_cfg, test_cfg, filter_cfg and metainfo: looked up by name, so that nobody misses a misspelt one.

So are values of test_cfg, of which some leave no detection, and others fail at the first one only.
"""

from __future__ import annotations

import inspect
import math
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import mmcv.ops
import torch
from torch import nn

from ghm_mmdet.errors import UserError, nearest

# How code looks a key up: cfg["key"], cfg.get("key", ...), cfg.key, self.test_cfg.key.
LOOKED_UP = re.compile(r"""['"](\w+)['"]|cfg\.(\w+)""")
# Of a proposal head, of the heads on its proposals.
INNER = ("rpn", "rcnn", "rpn_proposal")
# batched_nms takes them out before it calls the function that `type` names.
NMS = {"type", "class_agnostic", "split_thr"}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (value >= 1 or value == -1)


# Of train_cfg and test_cfg: whether a value fits, and what does.
VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "score_thr": (lambda value: _is_number(value) and value < 1, "a number below 1, or nothing is detected"),
    "max_per_img": (_counts, "a whole number of at least 1, or -1 for all"),
    "nms_pre": (_counts, "a whole number of at least 1, or -1 for all"),
    "min_bbox_size": (_is_number, "a number of pixels"),
    "nms": (
        lambda value: value is None or isinstance(value, dict),
        "a dict(type='nms', iou_threshold=0.5)",
    ),
    "iou_threshold": (lambda value: _is_number(value) and 0 <= value <= 1, "a number in [0, 1]"),
    "mask_thr_binary": (_is_number, "a number"),
}


def check_model_keys(model_cfg: dict, model: nn.Module) -> None:
    """Raises UserError for a key that no module of the model looks up and that is spelt almost like one that is.

    And for a value that is of the wrong kind, or with which nothing can be detected.

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
            _check_value(f"{place}.{key}", key, value)
            if key == "nms" and value is not None:
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


def _check_value(place: str, key: str, value: Any) -> None:
    fits, expected = VALUES.get(key, (lambda value: True, ""))
    if not fits(value):
        raise UserError(f"{place} is {value!r}, expected {expected}.")


def _check_nms(place: str, entry: dict[str, Any]) -> None:
    name = entry.get("type", "nms")
    function = getattr(mmcv.ops, name, None) if isinstance(name, str) else None
    if function is None:
        raise UserError(f"unknown type {name!r} at {place}.type: mmcv.ops has no such function")
    known = NMS | set(inspect.signature(function).parameters) - {"boxes", "scores", "dets"}
    for key, value in entry.items():
        if key not in known:
            raise UserError(f"unknown argument {key!r} at {place}\n{nearest(key, known)}")
        _check_value(f"{place}.{key}", key, value)
    if name in ("nms", "soft_nms"):
        boxes, ids = torch.tensor([[0.0, 0, 9, 9], [1, 1, 9, 9]]), torch.zeros(2, dtype=torch.long)
        try:
            mmcv.ops.batched_nms(boxes, torch.tensor([0.9, 0.8]), ids, dict(entry))
        except Exception as error:
            # Whatever it raises, the first detection would raise it too.
            raise UserError(f"{place}: {type(error).__name__}: {error}") from error
