"""The results of studies: one JSON line for each run, in results/NAME.jsonl."""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import fmean

from ghm_mmdet.errors import UserError

# A detector below this mAP has learned nothing.
COLLAPSED = 0.01


def read_results(path: Path) -> list[dict]:
    """The rows of a file, none where there is no file; a last line that a kill cut off is left out.

    Raises:
        UserError: another line is broken.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise UserError(f"line {number} of {path.absolute()} is no JSON ({error}).\nTake the line out.") from error
    return rows


def append_result(path: Path, row: dict) -> None:
    """Adds a row; a half line that a kill left at the end is overwritten."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as file:
        file.seek(0)
        whole = file.read().rpartition(b"\n")
        file.truncate(len(whole[0]) + len(whole[1]))
        file.write(json.dumps(row, sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def score(row: dict) -> float:
    """The mAP of a run, 0 where it broke off."""
    return row["ap"]["mAP"] if "ap" in row else 0.0


def collapsed(row: dict) -> bool:
    """Whether a run broke off or learned nothing."""
    return score(row) < COLLAPSED


def best_setting(rows: list[dict], method: str) -> dict | None:
    """The setting of a search with the highest mean mAP of a method, of equals the first; ``None`` without rows."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row["method"] == method:
            scores.setdefault(json.dumps(row["setting"], sort_keys=True), []).append(score(row))
    return json.loads(max(scores, key=lambda setting: fmean(scores[setting]))) if scores else None
