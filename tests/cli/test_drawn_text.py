"""Names with dollars and names without a font."""

from __future__ import annotations

import warnings

import matplotlib
import pytest
from matplotlib.figure import Figure

from ghm_mmdet.cli import drawn_text


@pytest.fixture(autouse=True)
def own_settings():
    with matplotlib.rc_context(), warnings.catch_warnings():
        yield


@pytest.mark.parametrize("name", ["a$b$c", "$^$", "US$ and CA$ _", "\u72ac\u732b", "\uac1c $x_{$"])
def test_any_name_is_drawn_without_a_warning(name, capsys):
    warnings.simplefilter("error")
    drawn_text.draw_names_as_written([name])
    figure = Figure()
    figure.text(0, 0, name, family="sans-serif")
    figure.canvas.draw()
    assert capsys.readouterr().err.count("\n") <= 1


def test_a_missing_font_is_said_once(monkeypatch, capsys):
    monkeypatch.setattr(drawn_text, "FURTHER_FONTS", ("No Such Font",))
    drawn_text.draw_names_as_written(["dog", "\u72ac", "\u732b"])
    assert capsys.readouterr().err.count("Install Noto Sans CJK") == 1
    drawn_text.draw_names_as_written(["dog", "\u00e9l\u00e8ve"])
    assert capsys.readouterr().err == ""
