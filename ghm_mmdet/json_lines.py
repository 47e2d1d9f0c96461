"""Files with one JSON value a line, of which a kill may have cut off the last one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def read_json_lines(path: Path) -> tuple[dict[int, Any], list[int]]:
    """Reads the values by the number of their line, from 1, and the numbers of the lines that are no JSON."""
    values: dict[int, Any] = {}
    broken = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if line.strip():
            try:
                values[number] = json.loads(line)
            except (ValueError, RecursionError):
                broken.append(number)
    return values, broken


def append_json_line(path: Path, value: Any, *, sort_keys: bool = False) -> None:
    """Adds a line, which is on the disk when this returns; takes out the half line that a kill left at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.seek(0)
                whole, _, last = file.read().rpartition(b"\n")
                try:
                    json.loads(last)
                    file.write(b"\n")
                except ValueError:
                    file.truncate(len(whole) + 1 if whole else 0)
        file.write(json.dumps(value, sort_keys=sort_keys).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
