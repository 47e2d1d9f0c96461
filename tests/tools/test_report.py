"""tools/report.py: what it computes and keeps, the page it writes, as text and in a browser, and its errors."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy
import pytest
import torch
from browser import chromium
from mmdet.apis import inference_detector, init_detector
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from tools.running import CLASSES, REPO, Shapes, assert_plain, call_tool

from ghm_mmdet.checkpoint.safe_loading import allow_mmengine_checkpoints
from ghm_mmdet.gradient_norms.log import LossRecord, Record, append_record
from ghm_mmdet.report import compare, predictions

KEPT = Path("report") / "test_detections.json"


def report(*arguments: object) -> None:
    call_tool("report", [str(argument) for argument in arguments])


def copy_run(shapes: Shapes, target: Path, data: Path | None = None) -> Path:
    """The trained run under another name, on other data where that is given."""
    shutil.copytree(shapes.run, target, ignore=shutil.ignore_patterns("report"))
    if data is not None:
        config = target / shapes.config.name
        text = config.read_text()
        assert str(shapes.data) in text
        config.write_text(text.replace(str(shapes.data), str(data)))
    return target


def detections_near(annotations: dict, share: float, seed: int) -> list[dict]:
    """What a detector might find that sees this share of the objects, and the rest in wrong places or classes."""
    random = numpy.random.default_rng(seed)
    found = []
    for entry in annotations["annotations"]:
        label, box = entry["category_id"] - 1, [float(value) for value in entry["bbox"]]
        if random.random() > share:
            label = (label + 1) % 3 if random.random() < 0.5 else label
            box[0] += 14
        score = float(random.uniform(0.3, 1))
        found.append({"image_id": entry["image_id"] - 1, "category_id": label, "bbox": box, "score": score})
    return found


def replace_detections(run: Path, detections: list[dict]) -> None:
    kept = json.loads((run / KEPT).read_text())
    (run / KEPT).write_text(json.dumps({**kept, "detections": detections}))


def norm_record(seed: int) -> LossRecord:
    random = numpy.random.default_rng(seed)
    count = [int(value) for value in random.integers(0, 900, 30)]
    share = random.dirichlet([1.0] * 30)
    return LossRecord("classification", "GHMC", count, [1.0] * 30, [float(value) for value in share])


@dataclass
class Page:
    file: Path
    good: Path
    bad: Path
    annotations: dict


@pytest.fixture(scope="module")
def page(shapes: Shapes, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Two runs whose detections are made up, since a detector trained for seconds finds nothing."""
    root = tmp_path_factory.mktemp("report")
    good, bad = (copy_run(shapes, root / name) for name in ("good", "bad"))
    file = root / "report.html"
    report(good, bad, "--out", file)
    annotations = json.loads((shapes.data / "annotations.json").read_text())
    replace_detections(good, detections_near(annotations, 0.9, 0))
    replace_detections(bad, detections_near(annotations, 0.7, 1))
    for iteration in (1, 5):
        append_record(good, Record(iteration, {"bbox_head.loss_cls": norm_record(iteration)}))
    report(good, bad, "--out", file)
    return Page(file, good, bad, annotations)


def test_detections_are_those_of_the_newest_checkpoint(shapes: Shapes, tmp_path: Path, capsys) -> None:
    run = copy_run(shapes, tmp_path / "run")
    report(run, "--out", tmp_path / "report.html", "--images", 5, "--device", "cpu")
    assert "run: epoch_2.pth, AP " in capsys.readouterr().out
    kept = json.loads((run / KEPT).read_text())["detections"]
    allow_mmengine_checkpoints()
    model = init_detector(str(shapes.config), str(shapes.checkpoint), device="cpu")
    assert {found["image_id"] for found in kept} <= set(range(5))
    for image in range(5):
        expected = inference_detector(model, str(shapes.data / "images" / f"{image}.png")).pred_instances
        own = [found for found in kept if found["image_id"] == image]
        assert len(own) > 0
        assert [found["category_id"] for found in own] == expected.labels.tolist()
        numpy.testing.assert_allclose([found["score"] for found in own], expected.scores, atol=1e-5)
        corners = numpy.array([found["bbox"] for found in own])
        corners[:, 2:] += corners[:, :2]
        numpy.testing.assert_allclose(corners, expected.bboxes, atol=1e-3)


def test_kept_detections_are_used_while_nothing_changes(shapes: Shapes, tmp_path: Path, monkeypatch) -> None:
    run = copy_run(shapes, tmp_path / "run")
    computed = []
    compute = predictions._compute
    monkeypatch.setattr(predictions, "_compute", lambda *args: computed.append(1) or compute(*args))
    monkeypatch.setattr(compare, "render", lambda *_: "")
    out = tmp_path / "report.html"

    def again(*arguments: object) -> int:
        before = len(computed)
        report(run, "--out", out, *arguments)
        return len(computed) - before

    assert again() == 1
    assert again() == 0
    assert again("--score-thr", 0.5) == 0
    assert again("--images", 4) == 1
    assert again() == 1
    assert again("--cfg-options", "model.test_cfg.score_thr=0.01") == 1
    assert again("--split", "val") == 1
    assert again() == 1
    (run / KEPT).write_text((run / KEPT).read_text()[:100])
    assert again() == 1
    weights = torch.load(run / "epoch_2.pth", weights_only=False)
    weights["state_dict"]["bbox_head.retina_cls.bias"] += 0.1
    torch.save(weights, run / "epoch_2.pth")
    assert again() == 1


def tables(html: str) -> list[list[list[str]]]:
    rows = [
        re.findall(r"<tr>.*?</tr>", table, re.DOTALL) for table in re.findall(r"<table.*?</table>", html, re.DOTALL)
    ]
    cell = re.compile(r"<t[hd][^>]*>(.*?)</t[hd]>", re.DOTALL)
    return [[[re.sub("<.*?>", " ", text).strip() for text in cell.findall(row)] for row in table] for table in rows]


def test_figures_of_the_page(page: Page) -> None:
    """Recomputed with pycocotools from the files in the work_dir."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    html = page.file.read_text()
    figures, classes = tables(html)[:2]
    assert figures[0][:5] == ["run", "checkpoint", "AP", "AP50", "AP75"]
    for row, run, column in ((figures[1], page.good, 2), (figures[2], page.bad, 4)):
        truth = COCO()
        truth.dataset = page.annotations
        truth.createIndex()
        kept = json.loads((run / KEPT).read_text())["detections"]
        found = truth.loadRes([{**d, "image_id": d["image_id"] + 1, "category_id": d["category_id"] + 1} for d in kept])
        coco_eval = COCOeval(truth, found, "bbox")
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
        assert row[:2] == [run.name, "epoch 2"]
        assert row[2:5] == [f"{value:.3f}" for value in coco_eval.stats[:3]]
        precision = coco_eval.eval["precision"][:, :, :, 0, 2]
        assert [line[0] for line in classes[1:]] == list(CLASSES)
        assert [line[column] for line in classes[1:]] == [f"{precision[:, :, k].mean():.3f}" for k in range(3)]
    assert float(figures[1][2]) > float(figures[2][2]) > 0.1


def test_page_asks_for_nothing(page: Page) -> None:
    html = page.file.read_text()
    assert "default-src 'none'" in html
    addresses = re.findall(r"""(?:href|src)=["']([^"']*)""", html)
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert not re.search(r"<script|@import|url\((?!#)", html)
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    references = re.findall(r"""(?:href="#|url\(#)([^")]*)""", html)
    assert set(references) <= set(ids)


@pytest.fixture(scope="module")
def browser(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    handler = partial(SimpleHTTPRequestHandler, directory=page.file.parent)
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with chromium(tmp_path_factory.mktemp("profile")) as chrome:
            chrome.get(f"http://127.0.0.1:{server.server_port}/report.html")
            yield chrome
    finally:
        server.shutdown()


def view(browser: Chrome, width: int, scheme: str) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


SIZES = """
return [...document.querySelectorAll(arguments[0])].map(element => {
  const box = element.getBoundingClientRect();
  return [box.width, box.height];
});
"""
# In pixels of the screen, of every text that is shown; a chart's are as much larger as the chart is drawn larger.
LETTERS = """
const shown = [...document.querySelectorAll("body *")].filter(element => element.checkVisibility()
  && [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
return shown.map(element => {
  const svg = element.closest("svg[viewBox]");
  const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  return [parseFloat(getComputedStyle(element).fontSize) * scale, element.textContent.trim()];
});
"""
# As WCAG computes it, of every text that is shown on the page itself, not on a photograph.
CONTRASTS = """
const light = colour => {
  const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(value => value / 255)
    .map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
};
const ground = element => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$|transparent/.test(colour)) return colour;
  }
};
const shown = [...document.querySelectorAll("body *")].filter(element => !element.closest(".image")
  && element.checkVisibility()
  && [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
return shown.map(element => {
  const style = getComputedStyle(element);
  const colours = [element.closest("svg") ? style.fill : style.color, ground(element)].map(light);
  return [(Math.max(...colours) + 0.05) / (Math.min(...colours) + 0.05), element.outerHTML.slice(0, 90)];
});
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_a_browser(page: Page, browser: Chrome, width: int) -> None:
    view(browser, width, "light")
    assert browser.title == "Detection report: good, bad"
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    # The page itself scrolls down only; wide tables scroll in their own frame.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    charts = browser.execute_script(SIZES, "section > .charts > .chart")
    assert len(charts) >= 1 + 3 + 3 + 2  # precision-recall: mean and classes; losses; gradient norms
    assert all(150 < chart_width <= width and chart_height > 100 for chart_width, chart_height in charts)
    images = browser.execute_script(SIZES, ".row .image")
    assert len(images) == 8 * 3
    assert all(140 < image_width <= width and image_height > 100 for image_width, image_height in images)
    crops = browser.execute_script(SIZES, ".crops .image")
    assert len(crops) > 6
    assert all(crop_width > 60 and crop_height > 60 for crop_width, crop_height in crops)
    letters = browser.execute_script(LETTERS)
    assert [pair for pair in letters if pair[0] < 11 or "mathdefault" in pair[1]] == []


def test_images_of_the_page_are_images(page: Page, browser: Chrome) -> None:
    sizes = browser.execute_async_script(
        "const done = arguments[0];"
        "Promise.all([...document.querySelectorAll('image')].map(async element => {"
        "  const image = new Image(); image.src = element.getAttribute('href'); await image.decode();"
        "  return [image.naturalWidth, image.naturalHeight]; })).then(done, error => done(String(error)));"
    )
    assert isinstance(sizes, list), sizes
    assert len(sizes) > 14
    assert [64, 64] in sizes
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []


def test_lines_of_both_runs_are_drawn(page: Page, browser: Chrome) -> None:
    drawn = browser.execute_script(
        "const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();"
        "const chart = document.querySelector('section > .charts > .chart');"
        "const strokes = [...chart.querySelectorAll('path')].map(path => getComputedStyle(path).stroke);"
        "const probe = document.createElement('i'); document.body.append(probe);"
        "return ['--run-0', '--run-1'].map(name => { probe.style.color = colour(name);"
        "  return strokes.filter(stroke => stroke === getComputedStyle(probe).color).length; });"
    )
    assert drawn == [1, 1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page: Page, browser: Chrome, scheme: str) -> None:
    view(browser, 1280, scheme)
    for details in browser.find_elements(By.TAG_NAME, "details"):
        browser.execute_script("arguments[0].open = true", details)
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 28)"}[scheme]
    contrasts = browser.execute_script(CONTRASTS)
    assert len(contrasts) > 150
    assert [pair for pair in contrasts if pair[0] < 4.5] == []


def test_page_can_be_used_without_a_mouse_or_eyes(page: Page, browser: Chrome) -> None:
    view(browser, 1280, "light")
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('svg')].filter(svg => !svg.getAttribute('aria-label')"
        " && svg.getAttribute('aria-hidden') !== 'true' && !svg.closest('[aria-hidden=true]')).length"
    )
    assert unnamed == 0
    for link in browser.find_elements(By.CSS_SELECTOR, "nav a"):
        link.send_keys("\n")
        target = link.get_attribute("href").rsplit("#", 1)[1]
        top = browser.execute_script("return document.getElementById(arguments[0]).getBoundingClientRect().top", target)
        at_end = browser.execute_script("return innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
        assert abs(top) < 30 or at_end, target
    headings = browser.execute_script("return [...document.querySelectorAll('h1,h2,h3')].map(h => +h.tagName[1])")
    assert headings[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))


def test_worst_images_and_mistakes_come_first(page: Page, browser: Chrome) -> None:
    captions = browser.execute_script(
        "return [...document.querySelectorAll('.row figcaption')].map(c => c.textContent)"
    )
    costs = [float(text.rsplit("cost ", 1)[1]) for text in captions if "cost" in text]
    means = [sum(pair) / 2 for pair in zip(costs[::2], costs[1::2])]
    assert len(means) == 8
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1]
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.crops')].map(crops => [crops.previousElementSibling.textContent,"
        " [...crops.querySelectorAll('figcaption')].map(caption => caption.innerText)])"
    )
    assert len(shown) == 4
    for index in (0, 2):
        scores = [float(re.search(r" (\d\.\d\d)", text)[1]) for text in shown[index][1]]
        assert scores == sorted(scores, reverse=True)
        areas = [
            numpy.prod([int(side) for side in re.search(r"(\d+)\D(\d+)", t).groups()]) for t in shown[index + 1][1]
        ]
        assert areas == sorted(areas, reverse=True)
    kinds = " ".join(text for _, texts in shown for text in texts)
    assert "wrong class" in kinds or "box off" in kinds


def test_runs_on_other_data_stand_apart(shapes: Shapes, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    shutil.copytree(shapes.data, fewer)
    annotations = json.loads((fewer / "annotations.json").read_text())
    del annotations["images"][7]
    annotations["annotations"] = annotations["annotations"][:-3]
    (fewer / "annotations.json").write_text(json.dumps(annotations))
    moved = tmp_path / "moved"
    shutil.copytree(shapes.data, moved)
    one, same = copy_run(shapes, tmp_path / "one"), copy_run(shapes, tmp_path / "same", moved)
    other = copy_run(shapes, tmp_path / "other", fewer)
    report(one, other, same, "--out", tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert "These runs were tested on 2 different data sets" in html
    figures = [table for table in tables(html) if table[0][:2] == ["run", "checkpoint"]]
    assert [[row[0] for row in table[1:]] for table in figures] == [["one", "same"], ["other"]]
    report(one, same, "--out", tmp_path / "report.html")
    assert "different data sets" not in (tmp_path / "report.html").read_text()


def test_names_from_data_are_text(shapes: Shapes, tmp_path: Path) -> None:
    evil, data = "<script>alert(1)</script>&", tmp_path / "data"
    shutil.copytree(shapes.data, data)
    (data / "images" / "0.png").rename(data / "images" / '"><img src=x>.png')
    text = (data / "annotations.json").read_text().replace("disc", evil).replace('"0.png', r'"\"><img src=x>.png')
    (data / "annotations.json").write_text(text)
    run = copy_run(shapes, tmp_path / "<b>run", data)
    config = run / shapes.config.name
    config.write_text(config.read_text().replace("disc", evil))
    report(run, "--out", tmp_path / "report.html", "--score-thr", 0)
    html = (tmp_path / "report.html").read_text()
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in html


def test_torn_newest_checkpoint_is_said_and_passed_over(shapes: Shapes, tmp_path: Path, capsys) -> None:
    run = copy_run(shapes, tmp_path / "run")
    torn = run / "epoch_2.pth"
    torn.write_bytes(torn.read_bytes()[:5000])
    report(run, "--out", tmp_path / "report.html")
    said = capsys.readouterr()
    assert "epoch_2.pth not whole (cut off); epoch_1.pth is used" in said.err
    assert "run: epoch_1.pth" in said.out
    (run / "epoch_1.pth").write_bytes(b"")
    with pytest.raises(SystemExit) as stop:
        report(run, "--out", tmp_path / "report.html")
    assert_plain(stop.value.code, capsys.readouterr().err, "no whole checkpoint in", str(run), "epoch_2.pth")


class Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def test_bad_input_is_plain(shapes: Shapes, fails, tmp_path: Path) -> None:
    good = copy_run(shapes, tmp_path / "good")
    (tmp_path / "empty").mkdir()
    untrained = copy_run(shapes, tmp_path / "untrained")
    for file in untrained.glob("*.pth"):
        file.unlink()
    hostile = copy_run(shapes, tmp_path / "hostile")
    torch.save({"state_dict": {}, "meta": Attack(tmp_path / "marker")}, hostile / "epoch_2.pth")
    other_model = copy_run(shapes, tmp_path / "other_model")
    torch.save({"state_dict": {"encoder.weight": torch.zeros(3)}}, other_model / "epoch_2.pth")
    no_data = copy_run(shapes, tmp_path / "no_data", tmp_path / "nowhere")
    no_test = copy_run(shapes, tmp_path / "no_test")
    (no_test / shapes.config.name).write_text('model = dict(type="RetinaNet")\n')
    for folder, *expected in (
        (tmp_path / "nowhere", "work_dir not found", "nowhere"),
        (tmp_path / "empty", "no config NAME.py in", str(tmp_path / "empty")),
        (untrained, "no checkpoint in", str(untrained)),
        (hostile, "checkpoint refused", "None of its code ran", "epoch_2.pth"),
        (other_model, "has no weight of this model", "epoch_2.pth"),
        (no_data, "data root not found", str(tmp_path / "nowhere"), "--cfg-options test_dataloader.dataset.data_root"),
        (no_test, "defines no test_dataloader"),
    ):
        fails("report", [good, folder], *expected) if folder != other_model else fails("report", [folder], *expected)
    assert not (tmp_path / "marker").exists()
    fails("report", [good, f"{good}/."], "work_dir given twice")
    fails("report", [good, "--score-thr", "2"], "--score-thr", "[0, 1]")
    fails("report", [good, "--out", tmp_path], "--out is a folder")
    fails("report", [good, "--device", "nothing"], "--device nothing")


SNIPPETS = re.findall(r"```bash\n(.*?)```", (REPO / "docs" / "report.md").read_text(), re.DOTALL)


def test_commands_of_the_page(shapes: Shapes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_run(shapes, tmp_path / "work_dirs" / "retinanet_ghm_digits")
    copy_run(shapes, tmp_path / "work_dirs" / "retinanet_ce_digits")
    monkeypatch.chdir(tmp_path)
    commands = [line.split() for code in SNIPPETS for line in code.splitlines()]
    own = [words for words in commands if words[1] == "tools/report.py"]
    assert own
    for words in own:
        report(*words[2:])
        assert (tmp_path / words[words.index("--out") + 1]).stat().st_size > 10_000
    for words in commands:
        assert (REPO / words[1]).is_file()
