#!/bin/bash
# bash configs/launch/torchrun.sh mine.yaml
# On one machine: a process per GPU (on CPUs: PROCESSES=4 THREADS=2). On several: run it on each with NODES, NODE (0, 1, ...) and HEAD
# (the first machine's name). torchrun passes SIGTERM on (the run saves and ends); SIGUSR1 ends torchrun itself: send it to the processes.
set -eu
export OMP_NUM_THREADS=${THREADS:-1}
exec torchrun --nnodes "${NODES:-1}" --node-rank "${NODE:-0}" --master-addr "${HEAD:-127.0.0.1}" --master-port "${PORT:-29500}" \
  --nproc-per-node "${PROCESSES:-gpu}" -m atomfield pretrain "$@"
