"""Progress bars on stderr."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

Item = TypeVar("Item")


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """Passes the items on and shows how many of them are done."""
    return rich_track(items, what, total=total, console=Console(stderr=True))
