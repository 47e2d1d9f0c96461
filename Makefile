# make demo    digits data, training, COCO mAP and a picture of detections, on a CPU
# make test    all tests
# make test-quick  fast tests of the mathematics and the losses, for while one works
# make lint    ruff and mypy, as in CI
# make docs    the documentation site, docs/_build/html/index.html
# make build   the source archive and the wheel, in dist/
# make env     the virtual environment alone; VENV=, PYTHON=, FORCE_CUDA=1 and MAX_JOBS= change it

VENV ?= .venv
PY := $(VENV)/bin/python

.PHONY: help env demo test lint docs build test-quick

help:
	@sed -n 's/^# //p' Makefile

env: $(VENV)/.ready

$(VENV)/.ready: constraints.txt pyproject.toml tools/setup_env.sh
	bash tools/setup_env.sh $(VENV)
	@touch $@

demo: env
	$(PY) tools/demo.py

lint: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

docs: env
	$(PY) -m sphinx -E -W --keep-going -q docs docs/_build/html
	@echo "written: docs/_build/html/index.html"

build: env
	$(PY) -m build

test: env
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --durations=10

test-quick: env
	$(PY) -m pytest -x -m "not slow" tests/functional tests/ops tests/losses
