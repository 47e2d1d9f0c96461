# make demo    digits data, training, COCO mAP and a picture of detections, on a CPU
# make test    all tests
# make lint    ruff, as in CI
# make env     the virtual environment alone; VENV=, PYTHON=, FORCE_CUDA=1 and MAX_JOBS= change it

VENV ?= .venv
PY := $(VENV)/bin/python

.PHONY: help env demo test lint

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

test: env
	$(PY) -m pytest
