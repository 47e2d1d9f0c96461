"""Write what is said of the configs in several places, from one: python docs/write_config_tables.py.

Sources: the first line of each config's opening, what it trains, and configs/published.yml, its published figures and
the options that make variants of it. Written: the tables of configs/README.md, the metafiles that model-index.yml
imports, and the end of the opening of each config that published.yml names.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).resolve().parents[1]
CONFIGS = REPO / "configs"
NO_DETECTORS = ("_base_", "studies")
# A table of README.md, with the configs in it, by the end of their names.
TABLE = re.compile(r"(<!-- configs: (.*?) -->\n).*?(?=<!-- end of configs -->)", re.S)


@dataclass(frozen=True)
class Entry:
    """A config, or a variant of it by options, and the figures that it is to reproduce."""

    path: str
    what: str
    variant: str = ""
    set: str = ""
    collection: str = ""
    published: dict[str, float] = field(default_factory=dict)
    source: str = ""
    weights: str = ""
    ours: dict[str, float] = field(default_factory=dict)
    command: str = ""
    epochs: int | None = None

    @property
    def name(self) -> str:
        return "_".join(filter(None, (Path(self.path).stem, self.variant)))

    @property
    def options(self) -> str:
        return " ".join(self.set.split())


def opening(path: str) -> str:
    text = ast.get_docstring(ast.parse((CONFIGS / path).read_text(encoding="utf-8")))
    assert text, f"{path} has no opening"
    return text


def detectors() -> list[str]:
    """The configs of detectors, below configs/."""
    paths = (path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.py"))
    return sorted(path.as_posix() for path in paths if path.parts[0] not in NO_DETECTORS)


def read_entries() -> tuple[dict[str, Any], dict[str, list[Entry]]]:
    """published.yml, and by config its entry followed by those of its variants."""
    content = yaml.safe_load((CONFIGS / "published.yml").read_text(encoding="utf-8"))
    unknown = set(content["configs"]) - set(detectors())
    assert not unknown, f"published.yml names configs that do not exist: {unknown}"
    entries = {}
    for path in detectors():
        given = dict(content["configs"].get(path, {}))
        variants = given.pop("options", {})
        base = Entry(path, opening(path).split("\n")[0].removesuffix("."), **given)
        rest = [Entry(path, variant=name, collection=base.collection, **each) for name, each in variants.items()]
        entries[path] = [base, *rest]
    return content, entries


def figures(entry: Entry, unit: bool) -> str:
    """Such as "28.6, 30.2 (600 px)", or "none"."""
    cells = []
    for metric, value in entry.published.items():
        name, _, condition = metric.partition(", ")
        shown = f"{value:.1f} {name}" if unit or name != "box AP" else f"{value:.1f}"
        cells.append(f"{shown} ({condition})" if condition else shown)
    return ", ".join(cells) or "none"


def table(rows: list[list[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "".join("| " + " | ".join(row) + " |\n" for row in lines)


def tables(entries: list[list[Entry]]) -> str:
    """Of the configs, and of their variants; a column without any content is left out."""
    configs, variants = [each[0] for each in entries], [entry for each in entries for entry in each[1:]]
    published = any(entry.published for entry in (*configs, *variants))
    rows = [["config", "what it trains", "published", "source"]]
    rows += [[f"[{e.name}]({e.path})", e.what, figures(e, unit=False), e.source] for e in configs]
    text = table(rows if published else [row[:2] for row in rows])
    if variants:
        rows = [["config", "`--cfg-options`", "what differs", "published", "source"]]
        rows += [[Path(e.path).stem, f"`{e.options}`", e.what, figures(e, unit=False), e.source] for e in variants]
        text += "\n" + table(rows if published else [row[:3] for row in rows])
    return text


def readme(text: str, entries: dict[str, list[Entry]]) -> str:
    def written(match: re.Match) -> str:
        wanted = tuple(match[2].split())
        # By folder, those that lie in none first.
        paths = sorted((path for path in entries if path.endswith(wanted)), key=lambda path: ("/" in path, path))
        return f"{match[1]}\n{tables([entries[path] for path in paths])}\n"

    return TABLE.sub(written, text)


def metafile(folder: str, content: dict[str, Any], entries: dict[str, list[Entry]]) -> str:
    collections = {name: each for name, each in content["collections"].items() if each["folder"] == folder}
    listed = [
        {
            "Name": name,
            "Metadata": {"Training Data": each["data"]},
            "Paper": content["papers"][each["paper"]],
            "README": "../README.md",
        }
        for name, each in collections.items()
    ]
    models = []
    for entry in (entry for each in entries.values() for entry in each if entry.collection in collections):
        metrics = {}
        for metric, value in entry.published.items():
            name, _, condition = metric.partition(", ")
            metrics[f"{name} ({', '.join(filter(None, ('published', condition)))})"] = value
        metrics |= {f"{metric} (ours)": value for metric, value in entry.ours.items()}
        if not metrics:
            continue
        metadata = {
            "Epochs": entry.epochs,
            "Training Command": entry.command,
            "Published By": entry.source,
            "Options": entry.options,
            # Not the model's own "Weights": whoever loads a model by its name gets the config without the options.
            "Weights With Options": entry.weights if entry.options else "",
        }
        model = {
            "Name": entry.name,
            "In Collection": entry.collection,
            "Config": f"configs/{entry.path}",
            "Metadata": {key: value for key, value in metadata.items() if value},
            "Results": [
                {
                    "Task": "Object Detection",
                    "Dataset": collections[entry.collection]["data"],
                    "Metrics": metrics,
                }
            ],
        }
        if entry.weights and not entry.options:
            model["Weights"] = entry.weights
        models.append(model)
    first = "# Written by docs/write_config_tables.py from configs/published.yml.\n"
    # A copy of each paper, or YAML would refer to it by an alias.
    return first + "\n".join(
        yaml.dump({key: part}, Dumper=NoAliases, sort_keys=False, width=1000)
        for key, part in (("Collections", listed), ("Models", models))
    )


class NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def with_figures(text: str, entries: list[Entry]) -> str:
    """A config's source, the end of its opening written anew."""
    base, *variants = entries
    lines = ["No published figure."]
    if base.published:
        lines = textwrap.wrap(f"Published: {figures(base, unit=True)}. Source: {base.source}.", 120)
    if variants:
        lines += ["", "With --cfg-options:"]
    for entry in variants:
        said = f"published {figures(entry, unit=True)}, {entry.source}" if entry.published else "no published figure"
        lines += textwrap.wrap(f"- {entry.what}; {said}", 120, subsequent_indent="  ")
        lines += textwrap.wrap(entry.options, 120, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    block = re.compile(r'\n\n(Published: |No published figure).*?\n"""', re.S)
    return block.sub(lambda _: "\n\n" + "\n".join(lines) + '\n"""', text, count=1)


def written_files() -> dict[Path, str]:
    """All that this program writes."""
    content, entries = read_entries()
    files = {CONFIGS / "README.md": readme((CONFIGS / "README.md").read_text(encoding="utf-8"), entries)}
    for folder in {each["folder"] for each in content["collections"].values()}:
        files[CONFIGS / folder / "metafile.yml"] = metafile(folder, content, entries)
    for path in content["configs"]:
        if entries[path][0].published or entries[path][1:]:
            files[CONFIGS / path] = with_figures((CONFIGS / path).read_text(encoding="utf-8"), entries[path])
    return files


if __name__ == "__main__":
    for file, text in written_files().items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            print(f"written: {file.relative_to(REPO)}")
