"""The results of studies: one JSON line for each run, in results/NAME.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

from ghm_mmdet.errors import UserError
from ghm_mmdet.json_lines import append_json_line, read_json_lines

# What a row is found by.
ROW = {"method", "config_hash"}
# A detector below this mAP has learned nothing.
COLLAPSED = 0.01


def read_results(path: Path) -> list[dict]:
    """The rows of a file, none where there is no file; a last line that a kill cut off is left out.

    Raises:
        UserError: another line is broken.
    """
    if not path.is_file():
        return []
    rows, broken = read_json_lines(path)
    for number in broken:
        if number < max(rows, default=0):
            raise UserError(f"line {number} of {path.absolute()} is no JSON.\nTake the line out.")
    for number, row in rows.items():
        if not isinstance(row, dict) or not set(row) >= ROW or not {"ap", "error"} & set(row):
            lacking = sorted(ROW - set(row)) if isinstance(row, dict) else []
            raise UserError(
                f"line {number} of {path.absolute()} is no result of a study"
                f"{f', it has no {lacking[0]}' if lacking else ''}.\nTake the line out."
            )
    return list(rows.values())


def append_result(path: Path, row: dict) -> None:
    """Adds a row; a half line that a kill left at the end is overwritten."""
    append_json_line(path, row, sort_keys=True)


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
