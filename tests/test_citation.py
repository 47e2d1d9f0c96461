"""CITATION.cff as the tools that read it want it, and what it says of the package."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cffconvert import Citation

import ghm_mmdet

PATH = Path(__file__).resolve().parents[1] / "CITATION.cff"


def test_it_is_valid():
    text = PATH.read_text()
    Citation(text).validate()
    with pytest.raises(Exception, match="'writers' was unexpected"):
        Citation(text.replace("authors:", "writers:")).validate()


def test_it_names_this_version():
    assert yaml.safe_load(PATH.read_text())["version"] == ghm_mmdet.__version__
