#!/usr/bin/env bash
# The numerical tests and the benchmark of the losses on a GPU, in at most 8 minutes: bash tools/gpu_check.sh [FOLDER]
# FOLDER gets the log, losses.json and losses.png; work_dirs/gpu_check by default. PYTHON chooses the interpreter, which
# needs torch, pytest, hypothesis, scipy, rich and matplotlib, and neither mmcv nor mmdet. DEVICE=cpu tries the script.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-work_dirs/gpu_check}
device=${DEVICE:-cuda}
python=${PYTHON:-python3}
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

timeout 270 "$python" -m pytest -p no:cacheprovider -m "not slow" --device "$device" \
  tests/ops tests/functional tests/nn/test_forms.py 2>&1 | tee "$out/tests.log"
tests=$?
timeout 200 "$python" tools/benchmark.py losses --device "$device" --dtypes float32 bfloat16 \
  --elements 8000000 --bins 30 300 --rounds "${ROUNDS:-15}" --out "$out" 2>"$out/benchmark.err" | tee "$out/benchmark.log"
benchmark=$?
[ "$benchmark" = 0 ] || tail -n 20 "$out/benchmark.err" >&2
exit $((tests || benchmark))
