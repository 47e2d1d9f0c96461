"""The documentation site builds without a warning, holds together, and works in a browser without a net."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import chromium
from docs.snippets import REPO
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from tools.running import environment

import ghm_mmdet


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with the command of `make docs`, into another folder."""
    built = tmp_path_factory.mktemp("site") / "html"
    printed = subprocess.run(["make", "-n", "docs"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in printed.splitlines() if " -m sphinx " in line]
    command = [sys.executable, *line.split()[1:-1], str(built)]
    assert "-W" in command
    done = subprocess.run(
        command, cwd=REPO, env=environment(PYTHONPATH=str(REPO)), capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    return built


class Page(HTMLParser):
    """The anchors, links and resources of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors.update(values[key] for key in ("id", "name") if values.get(key))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        loaded = tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload")
        self.resources += [values[key] for key in ("src", "href" if loaded else "") if values.get(key)]


def test_no_link_or_picture_is_broken(site: Path) -> None:
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 100
    broken = []
    for path, page in pages.items():
        for link in page.links + page.resources:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.relative_to(site.resolve())}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{path.relative_to(site.resolve())}: {link}, no such heading")
    assert not broken


def test_nothing_is_loaded_off_the_net(site: Path) -> None:
    loaded = {link for path in site.rglob("*.html") for link in Page(path).resources}
    assert loaded and not [link for link in loaded if urlsplit(link).netloc]
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert not re.findall(r"url\(['\"]?(?:https?:)?//", styles)


def test_every_public_name_is_in_the_api(site: Path) -> None:
    packages = [module.name for module in pkgutil.iter_modules(ghm_mmdet.__path__) if module.ispkg]
    named = {part: importlib.import_module(f"ghm_mmdet.{part}") for part in packages}
    public = {part: module.__all__ for part, module in named.items() if hasattr(module, "__all__")}
    assert {"functional", "losses", "heads", "hooks"} <= set(public)
    for part, names in public.items():
        anchors = Page(site / "api" / f"{part}.html").anchors
        assert not [name for name in names if f"ghm_mmdet.{part}.{name}" not in anchors], part


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Of the site, served as any web server would."""
    handler = functools.partial(QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as chrome:
        yield chrome


def click(browser: Chrome, element: WebElement) -> None:
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    element.click()


def assert_page_is_whole(browser: Chrome) -> None:
    """No error in the console, every picture is drawn, no formula is left as source."""
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    # The browser asks for an icon that the site does without.
    assert not [error for error in errors if "/favicon.ico" not in error]
    for picture in browser.find_elements(By.CSS_SELECTOR, "article img"):
        assert browser.execute_script("return arguments[0].naturalWidth", picture) > 0, picture.get_attribute("src")
    for formula in browser.find_elements(By.CSS_SELECTOR, "article math"):
        assert formula.size["height"] > 5 and formula.size["width"] > 3
    prose = browser.execute_script(
        "const article = document.querySelector('article').cloneNode(true);"
        "article.querySelectorAll('pre, code').forEach(node => node.remove()); return article.textContent"
    )
    assert not re.search(r"\\(frac|sum|text|alpha|beta)\b|\$\$|:func:|:class:|:math:|\{include\}", prose)


def test_navigation_leads_to_every_page(address: str, browser: Chrome) -> None:
    browser.get(f"{address}/index.html")
    assert ghm_mmdet.__version__ in browser.title
    links = browser.find_elements(By.CSS_SELECTOR, ".sidebar-tree a.reference.internal")
    names = [link.text for link in links]
    pages = {str(path.relative_to(REPO / "docs").with_suffix("")) for path in (REPO / "docs").glob("*.md")} - {"index"}
    reached = {link.get_attribute("href").removeprefix(f"{address}/").removesuffix(".html") for link in links}
    assert pages <= reached, "a page is missing from the navigation"
    for name in names:
        click(browser, browser.find_element(By.CSS_SELECTOR, ".sidebar-tree").find_element(By.LINK_TEXT, name))
        assert browser.find_element(By.CSS_SELECTOR, "article h1").text.rstrip("¶#").startswith(name)
        current = browser.find_element(By.CSS_SELECTOR, ".sidebar-tree .current-page > a")
        assert current.text == name
        assert_page_is_whole(browser)


def test_a_config_shows_its_source(address: str, browser: Chrome) -> None:
    browser.get(f"{address}/configs/index.html")
    click(browser, browser.find_element(By.LINK_TEXT, "retinanet_ghm_r50"))
    shown = browser.find_element(By.CSS_SELECTOR, "article pre").text
    assert shown.strip() == (REPO / "configs" / "retinanet_ghm_r50.py").read_text().strip()


@pytest.mark.parametrize(
    ("words", "title"), [("gradient density", "Gradient density"), ("ghm_c_loss", "ghm_mmdet.functional.ghm_c_loss")]
)
def test_search_finds(address: str, browser: Chrome, words: str, title: str) -> None:
    browser.get(f"{address}/quick_start.html")
    browser.find_element(By.CSS_SELECTOR, "input.sidebar-search").send_keys(words, Keys.ENTER)
    wait = WebDriverWait(browser, 20)
    wait.until(lambda chrome: "finished" in chrome.find_element(By.ID, "search-results").text)
    results = browser.find_elements(By.CSS_SELECTOR, "#search-results li a")
    (found,) = [result for result in results if result.text.split(" > ")[-1] == title][:1]
    click(browser, found)
    assert words.lower() in browser.find_element(By.CSS_SELECTOR, "article").text.lower()
    assert_page_is_whole(browser)


# What is on a page in letters too small for a telephone; superscripts and formulas are as large as their line asks.
SMALL_TEXT = """
    const found = [], walk = document.createTreeWalker(document.querySelector('article'), NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const node = walk.currentNode, style = getComputedStyle(node.parentElement);
        const seen = node.textContent.trim() && node.parentElement.getClientRects().length;
        if (seen && !node.parentElement.closest('math, sup, sub') && parseFloat(style.fontSize) < 11)
            found.push(node.textContent.trim());
    }
    return found;
"""


# Of the tables that scroll sideways, the first row.
SCROLLING_TABLES = """
return Array.from(document.querySelectorAll('article .table-wrapper'))
    .filter(wrapper => wrapper.scrollWidth > wrapper.clientWidth)
    .map(wrapper => wrapper.querySelector('tr').textContent);
"""


@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_a_telephone_and_a_desktop(address: str, browser: Chrome, width: int) -> None:
    """Nothing but tables, code and formulas, which scroll, is wider than the page, and all can be read."""
    screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        for name in ("index", "which_loss", "why", "own_data", "cluster", "results", "studies/robust", "your_detector"):
            browser.get(f"{address}/{name}.html")
            found = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
            assert found[1] == width and found[0] <= width, name
            assert not browser.execute_script(SMALL_TEXT), name
            if name in ("index", "which_loss", "why", "results"):
                assert not browser.execute_script(SCROLLING_TABLES), name
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
