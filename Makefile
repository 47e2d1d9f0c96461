# make demo    digits data, training, COCO mAP and a picture of detections, on a CPU
# make test    all tests
# make test-quick  fast tests of the mathematics and the losses, for while one works
# make test-oldest  the mathematics with the oldest torch that pyproject.toml allows, and nothing else installed
# make coverage     fast tests, with the lines that none of them runs
# make lint    ruff, mypy and spelling, as in CI
# make docs    the documentation site, docs/_build/html/index.html
# make build   the source archive and the wheel, in dist/
# make env     the virtual environment alone; VENV=, PYTHON=, FORCE_CUDA=1 and MAX_JOBS= change it

VENV ?= .venv
PY := $(VENV)/bin/python

.PHONY: help env demo test lint docs build test-quick test-oldest coverage

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
	$(VENV)/bin/codespell

docs: env
	$(PY) -m sphinx -E -W --keep-going -q docs docs/_build/html
	@echo "written: docs/_build/html/index.html"

build: env
	$(PY) -m build

test: env
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10 -rfEs

test-quick: env
	$(PY) -m pytest -x -m "not slow" tests/functional tests/ops tests/nn tests/losses

coverage: env
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" --cov=ghm_mmdet --cov-report=term:skip-covered

OLDEST := .venv-oldest
test-oldest: $(OLDEST)/.ready
	OMP_NUM_THREADS=1 PYTHONPATH=. $(OLDEST)/bin/python -m pytest tests/functional tests/ops tests/nn/test_forms.py

$(OLDEST)/.ready: pyproject.toml
	$(or $(PYTHON),python3) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install -q 'torch==2.4.*' 'numpy<2' pytest hypothesis scipy
	@touch $@
