"""The examples in the docstrings."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

import ghm_mmdet.functional

MODULES = [module.name for module in pkgutil.iter_modules(ghm_mmdet.functional.__path__, "ghm_mmdet.functional.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name), extraglobs={"torch": torch}).failed == 0


@pytest.mark.parametrize("name", ghm_mmdet.functional.__all__)
def test_every_public_function_has_an_example(name: str) -> None:
    function = getattr(ghm_mmdet.functional, name)
    (test,) = doctest.DocTestFinder(recurse=False).find(function, name)
    assert test.examples
