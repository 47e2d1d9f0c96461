"""Who imports whom: no package of ghm_mmdet imports one of a higher floor, and none two of them each other."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ghm_mmdet"
# From the ground up, as in docs/architecture.md.
FLOORS = [
    {"errors", "registry", "json_lines", "coco", "functional", "ops", "digits"},
    {"nn", "losses", "config", "custom_dataset"},
    {"checkpoint", "prior", "gradient_norms"},
    {"heads", "task_modules", "transforms", "backbones", "hooks"},
    {"data_check"},
    {"cli"},
    {"report", "experiments"},
    {"__main__"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """The packages and top modules of ghm_mmdet that a file imports, also within its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                folder = path.relative_to(PACKAGE.parent).parts[: -node.level]
                module = ".".join([*folder, *filter(None, [module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("ghm_mmdet.")}
    return (found & FLOOR.keys()) - {room(path)}


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_room_has_a_floor() -> None:
    assert {room(path) for path in FILES} - {"__init__"} <= FLOOR.keys()


@pytest.mark.parametrize("name", sorted(FLOOR))
def test_nothing_is_imported_from_above(name: str) -> None:
    above = [
        f"{path.relative_to(PACKAGE)} imports {other}"
        for path in FILES
        if room(path) == name
        for other in imported(path)
        if FLOOR[other] > FLOOR[name]
    ]
    assert not above


def test_no_packages_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        graph.setdefault(room(path), set()).update(imported(path))
    assert sum(map(len, graph.values())) > 30
    TopologicalSorter(graph).prepare()
