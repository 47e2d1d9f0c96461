#!/usr/bin/env bash
# Train on several ranks of one or more machines, on GPUs or, where there are none, on CPUs (gloo):
#   [NNODES=2 NODE_RANK=0 MASTER_ADDR=host PORT=29500] tools/dist_train.sh CONFIG GPUS [arguments of train.py]
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [arguments of train.py]   (environment: NNODES NODE_RANK PORT MASTER_ADDR)" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
shift 2
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" exec python -m ghm_mmdet.cli.torchrun \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="${PORT:-29500}" \
    --nproc-per-node="$GPUS" \
    "$TOOLS/train.py" "$CONFIG" --launcher pytorch "$@"
