"""Checkpoints are untrusted input: they are read as tensors and plain values, and no code of theirs ever runs.

torch's weights-only unpickler does the work. Checkpoints written by mmengine need a few more names than it allows by
default (the history of the logged values, with numpy arrays inside). Allowing the real `getattr` and numpy's real
`dtype` would open the door again: `getattr` walks from any allowed class to any object of the interpreter, and a
`dtype` takes flags from the file that make numpy treat a file's bytes as object pointers. So narrow stand-ins are
registered under those names.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import numpy
import torch

from ghm_mmdet.errors import IncompleteCheckpointError, RefusedCheckpointError, UserError, print_notice, require_file

ANEW = "Start a new run from its weights instead: --cfg-options load_from=PATH, without --resume."
SAME_CONFIG = "Use the config it was trained with (same architecture, same num_classes)."
STATISTICS = ("min", "max", "current", "mean")
_REFUSED = re.compile(
    r"(?:GLOBAL ([\w.]+) (?:was not an allowed|whose module)|Trying to call reduce for unrecognized function (.+)"
    r"|Can only (?:create new object|build) .* but got (.+)|asks for (.+), which is not data)"
)


def force_weights_only() -> None:
    """Makes every `torch.load` of this process and its children weights-only, whatever its caller passes.

    The environment variable wins over the arguments of `torch.load`, which matters because torch.hub passes
    `weights_only=False` for downloads and torch before 2.6 defaults to it.
    """
    if os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0").lower() in ("1", "y", "yes", "true"):
        print_notice("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is ignored: no code of a checkpoint is run.")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"


class _PlainDtype:
    """Stands in for `numpy.dtype`: a dtype of plain numbers, by name and byte order, nothing else from the file."""

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:
        dtype = numpy.dtype(name) if isinstance(name, str) else None
        if dtype is None or dtype.kind not in "biufc":
            raise pickle.UnpicklingError(f"the file asks for a numpy dtype {name!r}, which is not data")
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _PlainArray(numpy.ndarray):
    """Stands in for `numpy.ndarray`: an array of plain numbers, rebuilt through numpy's checked constructors."""

    def __new__(cls, *_: object) -> _PlainArray:
        return super().__new__(cls, (0,), numpy.uint8)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran_order, data = state
        order: Literal["F", "C"] = "F" if fortran_order else "C"
        array = numpy.frombuffer(data, dtype.dtype).reshape(shape, order=order)
        super().__setstate__((1, array.shape, array.dtype, bool(fortran_order), array.tobytes(order)))  # type: ignore[arg-type]

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        # Saved again, it is a plain numpy array.
        return numpy.array(self, subok=False).__reduce_ex__(protocol)


def _plain_array(*_: object) -> _PlainArray:
    """Stands in for numpy's `_reconstruct`, which makes the empty array that its state then fills."""
    return _PlainArray()


def _plain_scalar(dtype: _PlainDtype, data: bytes) -> numpy.generic:
    """Stands in for numpy's `scalar`."""
    return numpy.frombuffer(data, dtype.dtype, count=1)[0]


def _statistics_method(owner: type, name: str) -> Any:
    """Stands in for `getattr`, by which a HistoryBuffer pickles its own statistics methods."""
    from mmengine.logging import HistoryBuffer

    if owner is HistoryBuffer and name in STATISTICS:
        return HistoryBuffer.__dict__[name]
    raise pickle.UnpicklingError(f"the file asks for getattr({owner!r}, {name!r}), which is not data")


def allow_mmengine_checkpoints() -> None:
    """Lets torch's weights-only loading read the checkpoints that mmengine writes; safe to call more than once.

    Needs `torch.serialization.add_safe_globals` with names (torch 2.6); on older versions it does nothing, and there
    checkpoints of mmengine that hold more than weights are refused.
    """
    if torch.torch_version.TorchVersion(torch.__version__) < "2.6":
        return
    from mmengine.logging import HistoryBuffer

    allowed: list[Any] = [
        HistoryBuffer,
        (_statistics_method, "builtins.getattr"),
        (_PlainDtype, "numpy.dtype"),
        (_PlainArray, "numpy.ndarray"),
    ]
    # numpy 2 renamed the module; files of both generations are around.
    for module in ("numpy._core.multiarray", "numpy.core.multiarray"):
        allowed += [(_plain_array, f"{module}._reconstruct"), (_plain_scalar, f"{module}.scalar")]
    torch.serialization.add_safe_globals(allowed)


def read_checkpoint(path: str) -> dict:
    """Reads a checkpoint from a file or an address that mmengine resolves (`https://`, `torchvision://`, ...).

    Returns:
        The dictionary in the file, tensors on the CPU.

    Raises:
        RefusedCheckpointError: it asks for anything but data.
        IncompleteCheckpointError: it is cut off, empty, or no checkpoint.
        UserError: it is missing, or cannot be fetched.
    """
    require_file(path, "checkpoint")
    local = "://" not in path
    where = str(Path(path).expanduser().absolute()) if local else path
    if local and os.path.getsize(where) == 0:
        raise IncompleteCheckpointError(f"the checkpoint is an empty file: {where}")
    damaged = None
    try:
        if local:
            checkpoint = torch.load(where, map_location="cpu", weights_only=True)
            # torch itself does not compare the content with the checksums that it has written.
            damaged = _damaged_record(where)
        else:
            from mmengine.runner import CheckpointLoader

            checkpoint = CheckpointLoader.load_checkpoint(path, map_location="cpu")
    except (MemoryError, PermissionError):
        raise
    except Exception as error:
        # torch, zipfile and pickle raise about every class there is on a broken file.
        refused = _REFUSED.search(str(error))
        if refused:
            asked = next(group for group in refused.groups() if group).rstrip(".")
            raise RefusedCheckpointError(
                f"checkpoint refused: it asks for {asked}, which is not data. None of its code ran: {where}\n"
                "Only tensors, numbers, text and mmengine's log history are loaded; get a file that holds no more."
            ) from error
        if not local:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
            raise UserError(f"cannot fetch {where} ({reason})") from error
        raise IncompleteCheckpointError(
            f"not a whole checkpoint (cut off, or not written by torch.save): {where}\n"
            "Take another file, or resume with --resume and no path: that picks the newest whole checkpoint."
        ) from error
    if damaged:
        raise IncompleteCheckpointError(
            f"the checkpoint is damaged, {damaged} has another checksum than when it was written: {where}\n"
            "Take another file, or resume with --resume and no path: that picks the newest whole checkpoint."
        )
    if not isinstance(checkpoint, dict):
        raise IncompleteCheckpointError(
            f"no checkpoint: it holds a {type(checkpoint).__name__}, not a dictionary: {where}"
        )
    return checkpoint


def _damaged_record(path: str) -> str | None:
    """The first entry of a zip file whose checksum is wrong; the format before torch 1.6 has none."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as file:
        return file.testzip()


def weights_of(checkpoint: Mapping, path: str) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, without the prefix of a model wrapper.

    Raises:
        IncompleteCheckpointError: they are not there by their names.
    """
    weights = checkpoint.get("state_dict", checkpoint)
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for name in weights):
        raise IncompleteCheckpointError(
            f"no checkpoint: its state_dict does not hold weights by their names: {path}\n"
            "Take a file that mmdet or torch.save(model.state_dict(), PATH) has written."
        )
    return {re.sub(r"^module\.", "", name): value for name, value in weights.items() if isinstance(value, torch.Tensor)}


def check_resumable(checkpoint: Mapping, path: str) -> None:
    """Raises UserError unless mmengine can resume from it; RefusedCheckpointError when that would run its code.

    mmengine's `Runner.resume` executes `meta['config']` as Python. mmengine itself stores the config under another
    name, so a checkpoint with this entry is either foreign or hostile.
    """
    meta = checkpoint.get("meta")
    if isinstance(meta, Mapping) and "config" in meta:
        raise RefusedCheckpointError(
            f"checkpoint refused: resuming would execute the Python text in its meta['config']: {path}\n"
            "Start from its weights instead: --cfg-options load_from=PATH, without --resume."
        )
    from mmengine.logging import MessageHub

    has_place = isinstance(meta, Mapping) and all(
        isinstance(meta.get(key), int) and meta[key] >= 0 for key in ("epoch", "iter")
    )
    missing = [
        key for key in ("state_dict", "message_hub", "optimizer") if not isinstance(checkpoint.get(key), Mapping)
    ]
    seed = meta.get("seed") if isinstance(meta, Mapping) else None
    has_seed = seed is None or isinstance(seed, int)
    schedulers = checkpoint.get("param_schedulers", [])
    if isinstance(schedulers, Mapping):
        # One list for each of several optimizers.
        schedulers = [
            state for states in schedulers.values() for state in (states if isinstance(states, list) else [0])
        ]
    has_schedulers = isinstance(schedulers, list) and all(
        isinstance(state, Mapping) and "last_step" in state for state in schedulers
    )
    lacking = {"meta.epoch and meta.iter": has_place, "meta.seed": has_seed, "param_schedulers": has_schedulers}
    missing += [name for name, is_there in lacking.items() if not is_there]
    if missing:
        lacks = ", ".join(missing)
        raise UserError(f"nothing to resume in {path}: it lacks {lacks}.\n{ANEW}")
    try:
        MessageHub("probe").load_state_dict(dict(checkpoint["message_hub"]))
    except Exception as error:
        # Whatever it holds in place of mmengine's history fails in a way of its own.
        raise UserError(f"nothing to resume in {path}: its message_hub is not mmengine's ({error}).\n{ANEW}") from error


def load_weights(
    model: torch.nn.Module, checkpoint: Mapping, path: str, *, partial: bool = False, advice: str = SAME_CONFIG
) -> None:
    """Loads a checkpoint's weights into the model; raises UserError when they do not fill it.

    mmengine loads what fits and leaves the rest at its random start. Buffers of a loss (its running statistics) may
    be absent or of another shape; parameters and every other buffer may not.

    Args:
        model: a model built from the config.
        checkpoint: as returned by `read_checkpoint`.
        path: names the file in messages.
        partial: accept a checkpoint that fills a part of the model, and say which part it does not fill.
        advice: what to do about one that does not fit.
    """
    weights = weights_of(checkpoint, path)
    own = model.state_dict()
    needed = {name for name in own if _is_needed(name, model)}
    differs = {name for name in needed & weights.keys() if own[name].shape != weights[name].shape}
    fitting = {name: v for name, v in weights.items() if name not in own or own[name].shape == v.shape}
    missing = needed & set(model.load_state_dict(fitting, strict=False).missing_keys) - differs
    broken = next((name for name, value in model.named_parameters() if not value.isfinite().all()), None)
    if broken:
        raise UserError(f"{broken} is not finite in the checkpoint {path}\nTake an earlier checkpoint.")
    if not missing and not differs:
        return
    if needed == missing | differs:
        raise UserError(f"the checkpoint has no weight of this model: {path}\nUse the config it was trained with.")
    shapes = [f"{n} is {tuple(weights[n].shape)}, the model's {tuple(own[n].shape)}" for n in sorted(differs)]
    parts = []
    if shapes:
        parts.append(f"shape of {shapes[0]}" + (f" (and {len(shapes) - 1} more)" if len(shapes) > 1 else ""))
    if missing:
        names = sorted(missing)
        parts.append(f"missing {', '.join(names[:3])}" + (f" (and {len(names) - 3} more)" if len(names) > 3 else ""))
    if partial:
        print_notice(f"{path} fills a part of the model; these stay as initialised: {'; '.join(parts)}.")
        return
    raise UserError(f"the checkpoint does not fit the model: {'; '.join(parts)}; file {path}\n{advice}")


def _is_needed(name: str, model: torch.nn.Module) -> bool:
    if name.endswith("num_batches_tracked"):
        return False
    return not any(part.startswith("loss") for part in name.split(".")[:-1]) or name in dict(model.named_parameters())
