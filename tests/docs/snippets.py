"""The snippets of README.md and the other pages that people read."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

REPO = Path(__file__).resolve().parents[2]
PAGES = [
    *(path for path in sorted(REPO.glob("*.md"))),
    REPO / "configs" / "README.md",
    *(path for path in sorted((REPO / "docs").glob("*.md"))),
]


@dataclass(frozen=True)
class Snippet:
    """A fenced block: its page, first line, language, and the heading of the second level that it is under."""

    page: Path
    line: int
    language: str
    text: str
    section: str

    @property
    def is_config(self) -> bool:
        return self.language == "python" and "_base_ = " in self.text

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPO)}:{self.line}"

    def commands(self) -> Iterator[list[str]]:
        """The words of each command of a shell snippet, comments left out."""
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while "&&" in words:
                yield words[: words.index("&&")]
                words = words[words.index("&&") + 1 :]
            if words:
                yield words


def snippets_of(page: Path) -> list[Snippet]:
    found, section = [], ""
    tokens = MarkdownIt().parse(page.read_text())
    for before, token in zip([None, *tokens], tokens):
        if token.type == "inline" and before.type == "heading_open" and before.tag == "h2":
            section = token.content
        if token.type == "fence":
            found.append(Snippet(page, token.map[0] + 1, token.info.strip(), token.content, section))
        # An indented block would hide from the tests what a reader takes for a snippet.
        assert token.type != "code_block", f"{page}:{token.map[0] + 1}: fence this block"
    return found


SNIPPETS = [snippet for page in PAGES for snippet in snippets_of(page)]


def run_python(snippets: list[Snippet]) -> dict:
    """Runs them one after the other, as one program; a traceback shows the line of the page."""
    namespace = {"__name__": "__main__"}
    for snippet in snippets:
        code = compile("\n" * snippet.line + snippet.text, str(snippet.page), "exec")
        exec(code, namespace)
    return namespace
