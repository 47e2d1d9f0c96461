"""The documentation site: `make docs` builds it, with warnings as errors and nothing off the net."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import SphinxError

import ghm_mmdet

REPO = Path(__file__).resolve().parents[1]

project = "ghm_mmdet"
copyright = "ghm_mmdet's authors, Apache-2.0"
release = version = ghm_mmdet.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"ghm_mmdet {version}"
html_static_path = ["_static"]
html_css_files = ["telephone.css"]
html_math_renderer = "mathml"
html_show_sourcelink = html_copy_source = False
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# A reference to one of our own names that leads nowhere is an error; torch's and mmdet's are not looked up.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!ghm_mmdet\.).*")]


def mathml(self, node: nodes.Element, block: bool) -> None:
    """Formulas as MathML, which browsers draw by themselves; docutils translates them."""
    try:
        formula = tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        raise SphinxError(f"{node.source}:{node.line}: formula {node.astext()!r}: {error}") from error
    # A formula wider than the page scrolls; the theme's own class for that shows a second, vertical bar.
    self.body.append(f'<div style="overflow: auto hidden">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def keep_intervals_whole(app: Sphinx, tree: nodes.document) -> None:
    """A line of a narrow table breaks beside a figure with its interval or deviation, not in it."""
    for text in list(tree.findall(nodes.Text)):
        whole = re.sub(r"(?<=\d,) (?=[+-]\d)|(?<=\d) (?=±)|(?<=±) |(?<=\bn) (?== \d)|(?<=\bn =) (?=\d)", "\u00a0", text)
        if whole != text:
            text.parent.replace(text, nodes.Text(whole))


def write_config_pages(app: Sphinx) -> None:
    """configs/README.md as a page, and one for each config that shows its source."""
    folder = Path(app.srcdir) / "configs"
    pages = set()
    for config in sorted((REPO / "configs").rglob("*.py")):
        path = config.relative_to(REPO / "configs")
        source = Path("../" * (len(path.parts) + 1)) / "configs" / path
        heading = f"configs/{path.as_posix()}"
        page = folder / path.with_suffix(".rst")
        pages.add(page)
        write(
            page,
            f":orphan:\n\n{heading}\n{'=' * len(heading)}\n\n.. literalinclude:: {source.as_posix()}\n",
        )
    # Of configs that are gone.
    for page in set(folder.rglob("*.rst")) - pages:
        page.unlink()
    text = (REPO / "configs" / "README.md").read_text().replace("](../docs/", "](../")
    write(folder / "index.md", re.sub(r"\]\(([\w./-]+)\.py\)", r"](\1.rst)", text))


def write(page: Path, text: str) -> None:
    """Leaves a page that has not changed alone, so that the next build is quick."""
    if not page.is_file() or page.read_text() != text:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(lambda self, node: mathml(self, node, block=False), None),
        block_renderers=(lambda self, node: mathml(self, node, block=True), None),
    )
    app.connect("builder-inited", write_config_pages)
    app.connect("doctree-read", keep_intervals_whole)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
