#!/usr/bin/env bash
# Makes the virtual environment that `make demo` and `make test` use: bash tools/setup_env.sh [DIR]
# DIR is .venv by default. Safe to repeat: what is there already is not installed again.
# PYTHON chooses the interpreter, FORCE_CUDA=1 compiles mmcv's CUDA operators too (needs nvcc), MAX_JOBS its threads.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${1:-.venv}
python=${PYTHON:-python3}
log=$venv/mmcv-build.log

say() { printf '[setup] %s\n' "$*"; }
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

if [ ! -x "$venv/bin/python" ]; then
  say "1/5 creating $venv with $("$python" --version 2>&1)"
  "$python" -m venv "$venv"
else
  say "1/5 $venv is there"
fi

say "2/5 build tools (setuptools, wheel, ninja, psutil)"
pip install -q -c constraints.txt 'setuptools' wheel ninja psutil

say "3/5 torch and torchvision (a large download the first time)"
pip install -q -c constraints.txt torch torchvision

if "$venv/bin/python" -c 'import mmcv, mmcv.ops' 2>/dev/null; then
  say "4/5 mmcv with its compiled operators is there"
else
  # Without build isolation, since in an isolated build there is no torch and mmcv silently leaves its operators out.
  say "4/5 mmcv with compiled operators: about 10 minutes on 2 cores the first time, seconds from pip's cache after that"
  if ! MMCV_WITH_OPS=1 FORCE_CUDA="${FORCE_CUDA:-0}" MAX_JOBS="${MAX_JOBS:-$(nproc)}" CFLAGS=-g0 \
      pip install -v -c constraints.txt --no-build-isolation mmcv 2>&1 | tee "$log" |
      awk 'match($0, /\[[0-9]+\/[0-9]+\]/) { print "[setup]     compiled " substr($0, RSTART, RLENGTH); fflush() }'; then
    tail -n 30 "$log" >&2
    say "mmcv did not compile; the whole output is in $log" >&2
    exit 1
  fi
fi

say "5/5 mmdet, ghm_mmdet, the tools of tests and docs"
pip install -q -c constraints.txt --no-build-isolation -e '.[mmdet,demo,study,test,docs]'

say "operators of the GHM losses in C++"
"$venv/bin/python" -m ghm_mmdet.ops build

if ! "$venv/bin/python" -c 'import mmcv.ops, mmdet, ghm_mmdet.losses'; then
  say "$venv is incomplete: delete it and run this again" >&2
  exit 1
fi
say "ready: $("$venv/bin/python" -c 'import torch, mmcv, mmdet; print("torch", torch.__version__, "mmcv", mmcv.__version__, "mmdet", mmdet.__version__)')"
