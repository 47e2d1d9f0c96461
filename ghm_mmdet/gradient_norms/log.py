"""The file that GradientNormHook keeps in the work_dir: one line of JSON for each iteration it recorded."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from ghm_mmdet.errors import UserError
from ghm_mmdet.json_lines import append_json_line, read_json_lines

FILE_NAME = "gradient_norms.jsonl"


@dataclass(frozen=True)
class LossRecord:
    """The unit regions of one loss in one iteration, from gradient norm 0 to 1.

    kind: ``"classification"`` or ``"regression"``.
    type: the loss's class.
    count: number of elements in each.
    weight: what a gradient norm there was multiplied by, 0 where there is no element.
    share: of the sum of all elements' gradients.
    """

    kind: str
    type: str
    count: list[int]
    weight: list[float]
    share: list[float]


@dataclass(frozen=True)
class Record:
    """One iteration, counted from 1, and its losses by name."""

    iteration: int
    losses: dict[str, LossRecord]


def append_record(work_dir: str | Path, record: Record) -> None:
    append_json_line(Path(work_dir) / FILE_NAME, asdict(record))


def read_records(work_dir: str | Path) -> tuple[list[Record], int]:
    """Reads what the hook has written so far; the run may still go on.

    Where a run was resumed, or started anew, its records take the place of those that lie ahead of it.

    Returns:
        The records by rising iteration, and the number of lines that a kill cut off.

    Raises:
        UserError: there is no such folder, file, or record, or a line is none of the hook's.
    """
    folder = Path(work_dir).expanduser().absolute()
    path = folder / FILE_NAME
    if not folder.is_dir():
        raise UserError(f"work_dir not found: {folder}")
    if not path.is_file():
        raise UserError(
            f"no {FILE_NAME} in {folder}: the run had no GradientNormHook, or is not that far.\n"
            "Train with --cfg-options default_hooks.gradient_norm.type=ghm_mmdet.GradientNormHook"
        )
    records: list[Record] = []
    lines, cut_off = read_json_lines(path)
    for number, content in lines.items():
        try:
            record = _record(content)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"line {number} is no record of GradientNormHook: {path}") from error
        while records and records[-1].iteration >= record.iteration:
            records.pop()
        records.append(record)
    if not records:
        raise UserError(f"nothing recorded yet in {path}\nWait for the run's next record.")
    return records, len(cut_off)


def _record(content: dict) -> Record:
    losses = {name: LossRecord(**loss) for name, loss in content["losses"].items()}
    for loss in losses.values():
        if loss.kind not in ("classification", "regression"):
            raise ValueError
        lists = (loss.count, loss.weight, loss.share)
        if not loss.count or len({len(values) for values in lists}) != 1:
            raise ValueError
        if not all(math.isfinite(value) and value >= 0 for values in lists for value in values) or sum(loss.count) <= 0:
            raise ValueError
    if not losses or type(content["iteration"]) is not int:
        raise ValueError
    return Record(content["iteration"], losses)
